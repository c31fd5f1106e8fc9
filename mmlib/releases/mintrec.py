"""MIntRec (twenty intents) as its authors distribute it: transcripts as tables, audio and video features as pickles.

The folder holds train.tsv, dev.tsv and test.tsv, audio_data/audio_feats.pkl and video_data/video_feats.pkl.
"""

import os
from collections.abc import Mapping
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmlib.corpora import MINTREC_INTENTS
from mmlib.data.dataset import Dataset
from mmlib.names import DataError
from mmlib.releases import safe_pickle
from mmlib.releases.sequences import dropped, repaired_rows, small_file, stacked

NAME = "MIntRec"
INTENTS = tuple(MINTREC_INTENTS)
LENGTHS = {"text": 30, "audio": 480, "vision": 230}
"""The lengths at which the official loader cuts a sequence."""

_TABLES = {"train.tsv": ("train", 1334), "dev.tsv": ("valid", 445), "test.tsv": ("test", 445)}
_COLUMNS = ("season", "episode", "clip", "text", "label")
_PICKLES = {
    "audio": ("audio_data/audio_feats.pkl", 768, "hidden states of wav2vec 2.0 (768-d)"),
    "vision": ("video_data/video_feats.pkl", 256, "Faster R-CNN features of the speaker (256-d)"),
}
_TABLE_BYTES = 2**20


class Clip(NamedTuple):
    id: str
    split: str
    text: str
    label: str


def fits(path: str | Path) -> bool:
    """Whether this is a folder with MIntRec's files."""
    files = (*_TABLES, *(file for file, *_ in _PICKLES.values()))
    return all(os.path.isfile(Path(path, file)) for file in files)


def texts(path: str | Path) -> dict[str, str]:
    """The transcript of every clip by its id, from which a text encoder makes the `text` of `dataset`."""
    return {clip.id: clip.text for clip in _clips(Path(path))}


def dataset(path: str | Path, text: Mapping[str, np.ndarray | Tensor] | None = None) -> Dataset:
    """Audio and vision features, and text features where given; the ids are season_episode_clip.

    text: features (frames, width) for each id, made by an encoder from `texts(path)`; the release has only transcripts.

    Sequences are cut at the official lengths, LENGTHS. (The official loader indexes longer ones instead of cutting
    them.) If a file lacks a clip or has only zeros for it, the clip has no such modality; a clip without any modality
    is dropped.

    provenance: file, name, release, features per modality, split_source, repaired (numbers per modality that were NaN or
    infinite and became 0), warnings, licence_note.

    Raises DataError for anything that differs from the release.
    """
    path = Path(path)
    clips = _clips(path)
    arrays = {} if text is None else {"text": _arrays("text=", "text", text, clips)}
    for m, (file, width, _) in _PICKLES.items():
        content = safe_pickle.load(path / file)
        if not isinstance(content, dict):
            message = f"is a {type(content).__name__}, expected a dict of arrays by clip id; get it again"
            raise DataError(f"{path / file}: {message}")
        arrays[m] = _arrays(path / file, m, content, clips, width)
    fixed = {m: repaired_rows(column) for m, column in arrays.items()}
    nonempty, features, observed = stacked({m: rows for m, (rows, _) in fixed.items()}, path)
    warnings = [
        f"{split} has {count} clips, the complete release has {size}"
        for split, size in _TABLES.values()
        if (count := sum(clip.split == split for clip in clips)) != size
    ]
    warnings += dropped(nonempty, "clips")
    clips = list(compress(clips, nonempty))
    return Dataset(
        name=NAME,
        task="multiclass",
        features=features,
        observed=observed,
        target=torch.tensor([INTENTS.index(clip.label) for clip in clips]),
        split=np.array([clip.split for clip in clips]),
        ids=np.array([clip.id for clip in clips]),
        label_names=INTENTS,
        provenance={
            "file": str(path),
            "name": NAME,
            "release": NAME,
            "features": {m: "given by the caller" if m == "text" else _PICKLES[m][2] for m in fixed},
            "split_source": "official, by clip: many episodes occur in several splits",
            "repaired": {m: count for m, (_, count) in fixed.items()},
            "warnings": warnings,
            "licence_note": "code MIT; the clips are for research only",
        },
    )


def _clips(path: Path) -> list[Clip]:
    clips, seen = [], {}
    for name, (split, _) in _TABLES.items():
        for number, (season, episode, clip, text, label) in _lines(path / name):
            place = f"{path / name}: line {number}"
            if label not in INTENTS:
                raise DataError(f"{place}: {label!r} is none of the {len(INTENTS)} intents; correct it or get it again")
            key = f"{season}_{episode}_{clip}"
            if key in seen:
                raise DataError(f"{place}: the clip {key!r} is also {seen[key]}; keep one")
            seen[key] = place
            clips.append(Clip(key, split, text, label))
    return clips


def _lines(file: Path) -> list[tuple[int, list[str]]]:
    """Line number and fields of every clip; quotation marks are part of the transcript, as in the official loader."""
    content = small_file(file, _TABLE_BYTES)
    try:
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as problem:
        raise DataError(f"{file}: is not UTF-8 text ({problem}); get the release's file again") from problem
    header = lines[0].split("\t")
    if missing := [column for column in _COLUMNS if column not in header]:
        raise DataError(f"{file}: line 1: lacks {', '.join(missing)}; expected {', '.join(_COLUMNS)} between tabs")
    rows = [(number, line.split("\t")) for number, line in enumerate(lines[1:], 2) if line]
    for number, fields in rows:
        if len(fields) != len(header):
            raise DataError(f"{file}: line {number}: has {len(fields)} fields, expected {len(header)}; correct it")
    places = [header.index(column) for column in _COLUMNS]
    return [(number, [fields[i] for i in places]) for number, fields in rows]


def _arrays(
    where: str | Path, m: str, content: Mapping[str, Any], clips: list[Clip], width: int | None = None
) -> list[np.ndarray | None]:
    """The frames (T, width) of each clip up to the official length, None where a clip has none."""
    arrays = []
    for clip in clips:
        try:
            x = np.asarray(content.get(clip.id, ()))
        except ValueError as problem:
            raise DataError(f"{where}: field {clip.id!r}: is no array ({problem}); get the release's file") from problem
        frames = x[:, 0] if m == "vision" and x.ndim == 3 and x.shape[1] == 1 else x
        if x.size and (x.dtype.kind not in "fiu" or frames.ndim != 2 or width not in (None, frames.shape[1])):
            message = f"expected numbers (frames, {'1, ' if m == 'vision' else ''}{width or 'width'}); get it again"
            raise DataError(f"{where}: field {clip.id!r}: is {x.dtype} {x.shape}, {message}")
        arrays.append(frames[: LENGTHS[m]] if x.size else None)
    return arrays
