"""The release of MMSA, Self-MM and SMCIR (Yu et al., AAAI 2021): aligned_50.pkl and unaligned_50.pkl of MOSI and MOSEI.

Every split has text (N, 50, 768), text_bert (N, 3, 50: token ids, mask, segment), audio and vision (N, T, d), padded at the
end, regression_labels and id; unaligned files have audio_lengths and vision_lengths too. What else there is
(classification_labels, annotations, raw_text) follows from these or is not used.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mmlib.data.dataset import Dataset
from mmlib.names import DataError
from mmlib.releases import safe_pickle, splits
from mmlib.releases.splits import COVAREP, FACET, HAND_PICKED, HAND_PICKED_NOTE, MMSA_ONLY, Fields, Source, has, shape

NAME = "MMSA"

_BERT = {"text": (768, "hidden states of BERT base, 768 per token")}
_MOSI = Source("MOSI", {**_BERT, **HAND_PICKED}, (1284, 229, 686), (HAND_PICKED_NOTE,))
_MOSEI = Source("MOSEI", {**_BERT, **COVAREP, **FACET}, (16326, 1871, 4659))
_ALIGNED = (50, 50)
# Frames of audio and vision. MMSA's settings say 500 and 375 for both sets; the shapes its users report stand first.
_UNALIGNED = {"MOSI": ((375, 500), (500, 375)), "MOSEI": ((500, 500), (500, 375))}
_LENGTHS = {"audio": "audio_lengths", "vision": "vision_lengths"}


def fits(content: object) -> bool:
    """Whether this is MMSA's release: no other has regression_labels, text_bert or raw_text in any split."""
    return any(has(content, field) for field in MMSA_ONLY)


def texts(path: str | Path) -> dict[str, str]:
    """The transcript of every row by its id, from which a text encoder makes the `text` of `dataset`."""
    content = safe_pickle.load(path)
    if not fits(content):
        raise DataError(f"{path}: is not MMSA's release; give its aligned_50.pkl or unaligned_50.pkl")
    form = {"id": ("rows",), "raw_text": ("rows",)}
    fields = splits.checked(content, Path(path), NAME, (_MOSI, _MOSEI), form)
    return dict(zip(splits.unique_ids(fields), map(str, splits.stacked(fields, "raw_text"))))


def dataset(content: dict, path: Path, *, text: str | Mapping[str, np.ndarray | Tensor] = "features") -> Dataset:
    """MOSI or MOSEI as regression; the group of a row is its video.

    text: 'features' for the features in the file; 'ids' for token ids (N, T, 1), which a language model reads; or
        features (frames, width) for each id, made by an encoder from `texts(path)`. A file without any field of text
        gives audio and vision alone where text is 'features'.

    BERT's mask gives the real frames of the text. The lengths give the real frames of audio and vision; without
    mask or lengths, these are the frames from the first to the last that is not zero.
    A file with other frames or widths, such as CH-SIMS's unaligned_39.pkl or one that MMSA-FET wrote, is read, too: its name
    is that of the file, and a warning says so.
    Raises DataError, before it converts anything, for fields that are not as the release documents them.
    """
    needed = _text_fields(content, path, text)
    fields = splits.checked(content, path, NAME, (_MOSI, _MOSEI), _form(content, needed))
    source = _source(path, fields)
    observed = {m: _frames(path, fields, m) for m in _LENGTHS if _LENGTHS[m] in fields["train"]}
    if "text_bert" in needed:
        observed["text"] = _masked(path, fields)
    if text == "ids":
        fields = {split: {**arrays, "text": arrays["text_bert"][:, 0, :, None]} for split, arrays in fields.items()}
    modalities = {m: splits.modality(fields, m, observed.get(m)) for m in _MOSI.modalities if m in fields["train"]}
    described, warnings = dict(source.modalities), []
    if text == "ids":
        described["text"] = (1, "token ids of BERT base" if source.published else "token ids")
    elif not isinstance(text, str):
        modalities = {"text": splits.given(text, splits.unique_ids(fields))} | modalities
        described["text"] = (modalities["text"].x.shape[2], "given by the caller")
    elif not needed:
        warnings = ["the file has no features of the text; texts(path) and text= bring them in"]
    source = source._replace(modalities={m: described[m] for m in modalities})
    labels = splits.stacked(fields, "regression_labels")
    return splits.assembled(path, NAME, source, fields, modalities, labels, warnings=warnings)


def _text_fields(content: dict, path: Path, text: str | Mapping) -> tuple[str, ...]:
    """The fields that the text is read from."""
    if not isinstance(text, str):
        return ()
    if text not in ("features", "ids"):
        raise DataError(f"{path}: text is {text!r}; choose 'features' or 'ids', or give features for each id")
    there = tuple(field for field in ("text", "text_bert") if has(content, field))
    if text == "features" and there == ("text_bert",):
        remedy = "text='ids' reads the token ids in 'text_bert', and features that you make for each id come as text="
        raise DataError(f"{path}: split 'train', field 'text': is missing, as in all splits; {remedy}")
    return there if text == "features" else ("text_bert",)


def _form(content: dict, text: tuple[str, ...]) -> dict[str, tuple[int | str, ...]]:
    forms = {"text": ("rows", "tokens", "width of text"), "text_bert": ("rows", 3, "tokens")}
    form = {field: forms[field] for field in text} | {"id": ("rows",)}
    form |= {m: ("rows", f"frames of {m}", f"width of {m}") for m in _LENGTHS}
    form["regression_labels"] = ("rows", *[1] * (len(shape(content, "regression_labels")) - 1))
    tokens = shape(content, "text")[1:2] or shape(content, "text_bert")[2:3] or (50,)
    aligned = {shape(content, m)[1:2] for m in _LENGTHS} == {tokens}
    if not aligned or any(has(content, field) for field in _LENGTHS.values()):
        form |= {field: ("rows",) for field in _LENGTHS.values()}
    return form


def _source(path: Path, fields: dict[str, Fields]) -> Source:
    """The data set whose published frames and widths are those of the file."""
    shapes = {m: x.shape[1:] for m, x in fields["train"].items() if m in ("text", "text_bert", *_LENGTHS)}
    for source in (_MOSI, _MOSEI):
        for steps in (_ALIGNED, *_UNALIGNED[source.name]):
            published = {m: (n, source.widths[m]) for m, n in zip(("text", *_LENGTHS), (50, *steps))}
            if shapes.items() <= {**published, "text_bert": (3, 50)}.items():
                return source
    return splits.unpublished(path, fields["train"], [m for m in _MOSI.modalities if m in shapes])


def _frames(path: Path, fields: dict[str, Fields], m: str) -> Bool[Tensor, "N T"]:
    """The frames that the lengths of audio or vision give."""
    field, steps = _LENGTHS[m], np.arange(fields["train"][m].shape[1] + 1)
    for split, arrays in fields.items():
        for row in np.flatnonzero(~np.isin(arrays[field], steps))[:1]:
            message = f"is {arrays[field][row]}, expected 0..{steps[-1]}, the frames of {m!r}; correct it"
            raise DataError(f"{path}: split {split!r}, field {field!r}, row {row} (id {arrays['id'][row]}): {message}")
    return torch.from_numpy(steps[:-1] < splits.stacked(fields, field)[:, None])


def _masked(path: Path, fields: dict[str, Fields]) -> Bool[Tensor, "N T"]:
    """The frames that BERT's mask gives."""
    for split, arrays in fields.items():
        for row in np.flatnonzero(~np.isin(arrays["text_bert"][:, 1], (0, 1)).all(1))[:1]:
            text = "the mask holds other than 0 and 1; the order is token ids, mask, segment"
            raise DataError(f"{path}: split {split!r}, field 'text_bert', row {row} (id {arrays['id'][row]}): {text}")
    return torch.from_numpy(splits.stacked(fields, "text_bert")[:, 1] == 1)
