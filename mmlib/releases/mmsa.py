"""The release of MMSA, Self-MM and SMCIR (Yu et al., AAAI 2021): aligned_50.pkl and unaligned_50.pkl of MOSI and MOSEI.

Every split has text (N, 50, 768), text_bert (N, 3, 50: token ids, mask, segment), audio and vision (N, T, d), padded at the
end, regression_labels and id; unaligned files have audio_lengths and vision_lengths too. What else there is
(classification_labels, annotations, raw_text) follows from these or is not used.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mmlib.data.dataset import Dataset
from mmlib.names import DataError
from mmlib.releases import splits
from mmlib.releases.splits import COVAREP, FACET, HAND_PICKED, HAND_PICKED_NOTE, MMSA_ONLY, Fields, Source, has, shape

NAME = "MMSA"

_BERT = {"text": (768, "hidden states of BERT base, 768 per token")}
_TOKENS = {"text": (1, "token ids of BERT base")}
_MOSI = Source("MOSI", {**_BERT, **HAND_PICKED}, (1284, 229, 686), (HAND_PICKED_NOTE,))
_MOSEI = Source("MOSEI", {**_BERT, **COVAREP, **FACET}, (16326, 1871, 4659))
_ALIGNED = (50, 50)
# Frames of audio and vision. MMSA's settings say 500 and 375 for both sets; the shapes its users report stand first.
_UNALIGNED = {"MOSI": ((375, 500), (500, 375)), "MOSEI": ((500, 500), (500, 375))}
_LENGTHS = {"audio": "audio_lengths", "vision": "vision_lengths"}


def fits(content: object) -> bool:
    """Whether this is MMSA's release: no other has regression_labels, text_bert or raw_text in any split."""
    return any(has(content, field) for field in MMSA_ONLY)


def dataset(content: dict, path: Path, *, text: str = "features") -> Dataset:
    """MOSI or MOSEI as regression; the group of a row is its video.

    text: 'features' for the features in the file, 'ids' for token ids (N, 50, 1), which a language model reads.
    BERT's mask gives the real frames of the text. The lengths give the real frames of audio and vision; without
    lengths, these are the frames from the first to the last that is not zero.
    A file with other frames or widths, such as CH-SIMS's unaligned_39.pkl or one that MMSA-FET wrote, is read, too: its name
    is that of the file, and a warning says so.
    Raises DataError, before it converts anything, for fields that are not as the release documents them.
    """
    if text not in ("features", "ids"):
        raise DataError(f"{path}: text is {text!r}; choose 'features' or 'ids'")
    fields = splits.checked(content, path, NAME, (_MOSI, _MOSEI), _form(content))
    source = _published(fields["train"]) or splits.unpublished(path, fields["train"], _MOSI.modalities)
    observed = {m: _frames(path, fields, m) for m in _LENGTHS if _LENGTHS[m] in fields["train"]}
    observed["text"] = _masked(path, fields)
    if text == "ids":
        fields = {split: {**arrays, "text": arrays["text_bert"][:, 0, :, None]} for split, arrays in fields.items()}
        source = source._replace(modalities={**source.modalities, **_TOKENS})
    modalities = {m: splits.modality(fields, m, observed.get(m)) for m in source.widths}
    return splits.assembled(path, NAME, source, fields, modalities, splits.stacked(fields, "regression_labels"))


def _form(content: dict) -> dict[str, tuple[int | str, ...]]:
    form = {"text": ("rows", "tokens", "width of text"), "text_bert": ("rows", 3, "tokens"), "id": ("rows",)}
    form |= {m: ("rows", f"frames of {m}", f"width of {m}") for m in _LENGTHS}
    form["regression_labels"] = ("rows", *[1] * (len(shape(content, "regression_labels")) - 1))
    aligned = len({shape(content, m)[1:2] for m in ("text", *_LENGTHS)}) == 1
    if not aligned or any(has(content, field) for field in _LENGTHS.values()):
        form |= {field: ("rows",) for field in _LENGTHS.values()}
    return form


def _published(fields: Fields) -> Source | None:
    """The data set whose published frames and widths these are."""
    shapes = {m: fields[m].shape[1:] for m in ("text", *_LENGTHS)}
    for source in (_MOSI, _MOSEI):
        for steps in (_ALIGNED, *_UNALIGNED[source.name]):
            if shapes == {m: (n, source.widths[m]) for m, n in zip(("text", *_LENGTHS), (50, *steps))}:
                return source
    return None


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
