"""The pickles of MOSI and MOSEI that MISA, MMIM and MAG-BERT read: lists of ((words, vision, audio[, text]), label, segment).

One pickle holds a dict of the lists train, dev and test, or a folder holds train.pkl, dev.pkl and test.pkl. Vision (n, 47)
or (n, 35) and audio (n, 74) have a frame for each word; words are texts, or numbers in a vocabulary of the file's maker,
and then text repeats them as texts. Further parts, such as lengths, are not read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from mmlib.data.dataset import Dataset
from mmlib.names import SPLITS, DataError
from mmlib.releases import safe_pickle, splits
from mmlib.releases.sequences import padded, repaired_rows
from mmlib.releases.splits import COVAREP, Modality, Source, array_of

NAME = "MISA"

_NAMES = {"train": "train", "valid": "dev", "test": "test"}
_WIDTHS = {"vision": (47, 35), "audio": (COVAREP["audio"][0],)}
_FORM = "expected ((words, vision, audio[, text]), label, segment)"


class Clip(NamedTuple):
    id: str
    words: str | None  # None where they are numbers
    vision: np.ndarray | None
    audio: np.ndarray | None
    label: float


def fits(content: object) -> bool:
    """Whether this is a list of clips, or a dict of splits with one."""
    parts = list(_parts(content).values()) if isinstance(content, dict) else [content]
    return any(map(_like_clips, parts)) and not any(isinstance(part, dict) for part in parts)


def texts(path: str | Path) -> dict[str, str]:
    """The transcript of every clip by its id, from which a text encoder makes the `text` of `dataset`."""
    path = Path(path)
    clips = _clips(safe_pickle.load(path), path)
    ids = splits.unique_ids(_ids(clips))
    words = [clip.words for split in SPLITS for clip in clips[split]]
    for name, said in zip(ids, words):
        if said is None:
            raise DataError(f"{path}: clip {name!r} has numbers for words, whose vocabulary only their maker has")
    return dict(zip(ids, words))


def dataset(content: object, path: Path, text: Mapping[str, np.ndarray | Tensor] | None = None) -> Dataset:
    """MOSI or MOSEI as regression with audio and vision, and text features where given; the group of a row is its video.

    text: features (frames, width) for each id, made by an encoder from `texts(path)`; the files have only words.

    For a list of clips, which is one split, the other two are read from the folder of the path. The name of the file or its
    folder tells the set; otherwise vision 47 wide means MOSI, and a warning says so.
    Raises DataError for anything that differs from the lists above.
    """
    clips = _clips(content, path)
    fields, modalities = _ids(clips), {}
    if text is not None:
        modalities["text"] = splits.given(text, splits.unique_ids(fields))
    for m in ("audio", "vision"):
        rows, count = repaired_rows(getattr(clip, m) for split in SPLITS for clip in clips[split])
        modalities[m] = Modality(*padded(rows, path, m), count, 0)
    facet = modalities["vision"].x.shape[2]
    described = {**COVAREP, "vision": (facet, f"Facet, {facet} per word"), "text": (0, "given by the caller")}
    place = f"{path.absolute().parent.name}/{path.name}".lower()
    named = [name for name in ("MOSEI", "MOSI") if name.lower() in place]
    name, *_ = [*named, "MOSI" if facet == 47 else "MOSEI"]
    warnings = [] if named else [f"the file does not say that it is {name}: rename it or its folder"]
    source = Source(name, {m: described[m] for m in modalities})
    labels = np.array([clip.label for split in SPLITS for clip in clips[split]])
    return splits.assembled(path, NAME, source, fields, modalities, labels, warnings=warnings)


def _parts(content: dict) -> dict[str, Any]:
    """The lists of the splits that a dict has; the second one may be called dev or valid."""
    parts = {split: content.get(name, content.get(split)) for split, name in _NAMES.items()}
    return {split: part for split, part in parts.items() if part is not None}


def _like_clips(part: object) -> bool:
    clip = part[0] if isinstance(part, list) and part else None
    features = clip[0] if isinstance(clip, tuple | list) and len(clip) == 3 else None
    return isinstance(features, tuple | list) and len(features) >= 3


def _clips(content: object, path: Path) -> dict[str, list[Clip]]:
    if isinstance(content, dict):
        parts = _parts(content)
    else:
        files = {split: path.with_name(f"{name}.pkl") for split, name in _NAMES.items()}
        for file in files.values():
            if not file.exists():
                remedy = "put train.pkl, dev.pkl and test.pkl into one folder"
                raise DataError(f"{file}: is not there, and {path.name} is one split of three; {remedy}")
        parts = {split: content if file == path else safe_pickle.load(file) for split, file in files.items()}
    clips = {}
    for split in SPLITS:
        part = parts.get(split)
        if not isinstance(part, list) or not part:
            kind = "an empty list" if isinstance(part, list) else type(part).__name__
            raise DataError(f"{path}: split {split!r}: is {kind}, expected a list of clips; get the file again")
        clips[split] = [_clip(clip, f"{path}: split {split!r}, clip {i}") for i, clip in enumerate(part)]
    return clips


def _clip(clip: object, where: str) -> Clip:
    if not _like_clips([clip]):
        raise DataError(f"{where}: is {str(clip)[:60]}, {_FORM}")
    (words, vision, audio, *text), label, segment = clip
    if not isinstance(segment, str):
        raise DataError(f"{where}: the segment is {type(segment).__name__}, expected a text")
    where, label = f"{where} (segment {segment!r})", array_of(label)
    if label.size != 1 or label.dtype.kind not in "fiu":
        raise DataError(f"{where}: the label is {label.dtype} {label.shape}, expected one number")
    arrays = {m: _array(x, m, where) for m, x in (("vision", vision), ("audio", audio))}
    said = array_of(text[0] if text else words).ravel().tolist()
    words = " ".join(said) if all(isinstance(word, str) for word in said) else None
    return Clip(segment, words, arrays["vision"], arrays["audio"], float(label.item()))


def _array(x: object, m: str, where: str) -> np.ndarray | None:
    """The frames (n, width), None where there are none."""
    x = array_of(x)
    if x.size and (x.dtype.kind not in "fiu" or x.ndim != 2 or x.shape[1] not in _WIDTHS[m]):
        widths = " or ".join(map(str, _WIDTHS[m]))
        raise DataError(f"{where}: {m} is {x.dtype} {x.shape}, expected numbers (words, {widths}); {_FORM}")
    return x if x.size else None


def _ids(clips: dict[str, list[Clip]]) -> dict[str, splits.Fields]:
    return {split: {"id": np.array([clip.id for clip in clips[split]])} for split in SPLITS}
