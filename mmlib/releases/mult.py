"""MulT's release (Tsai et al., ACL 2019): mosi_data.pkl, mosei_senti_data.pkl, iemocap_data.pkl, and each with _noalign.

Every split has text, audio and vision (N, T, d), padded in front; labels (N, 1, 1), or (N, 4, 2) in IEMOCAP; id (N,) or
(N, 3), or none.
"""

from pathlib import Path

import numpy as np

from mmlib.data.dataset import Dataset
from mmlib.names import DataError
from mmlib.releases import splits
from mmlib.releases.splits import COVAREP, FACET, GLOVE, HAND_PICKED, HAND_PICKED_NOTE, MMSA_ONLY, Source, has, shape

NAME = "MulT"
EMOTIONS = ("neutral", "happy", "sad", "angry")

_ALL = {**GLOVE, **COVAREP, **FACET}
_OTHER_SPLITS = "these splits are not those of the MMSA release, which has more rows"
_FEW_YES = (
    "each emotion is a yes/no problem of its own with few yes: answering no to all scores high; this is not the "
    "4-class benchmark of 5531 utterances"
)
_MOSI = Source("MOSI", {**GLOVE, **HAND_PICKED}, (1284, 229, 686), (HAND_PICKED_NOTE,))
_MOSEI = Source("MOSEI", _ALL, (16265, 1869, 4643), (_OTHER_SPLITS,))
_IEMOCAP = Source("IEMOCAP", _ALL, (2717, 798, 938), (_FEW_YES,))


def fits(content: object) -> bool:
    """Whether this is MulT's release: it has its fields, none of MMSA's, and is not MultiBench's."""
    return has_layout(content) and not like_multibench(content)


def dataset(content: dict, path: Path) -> Dataset:
    """MOSI and MOSEI as regression, IEMOCAP as four yes/no problems (multibinary).

    A file with other words or widths is read, too: its name is that of the file, and a warning says so.
    Raises DataError, before it converts anything, for fields that are not as the release documents them.
    """
    emotions = _has_emotions(content)
    form = {m: ("rows", f"frames of {m}", f"width of {m}") for m in _MOSI.modalities}
    form |= {"labels": ("rows", 4, 2) if emotions else ("rows", 1, 1), "id": splits.id_form(content)}
    fields = splits.checked(content, path, NAME, (_MOSI, _MOSEI, _IEMOCAP), form, optional="id")
    words, widths = fields["train"]["text"].shape[1], {m: fields["train"][m].shape[2] for m in _MOSI.modalities}
    published = [s for s in ((_IEMOCAP,) if emotions else (_MOSI, _MOSEI)) if s.widths == widths]
    if published and words == (20 if emotions else 50):
        source = published[0]
    else:
        source = splits.unpublished(path, fields["train"], widths)
    modalities = {m: splits.modality(fields, m) for m in widths}
    labels, label_names, warnings = splits.stacked(fields, "labels"), (), []
    if emotions:
        for split, arrays in fields.items():
            for row in np.flatnonzero(np.isnan(arrays["labels"]).any((1, 2)))[:1]:
                place = f"{path}: split {split!r}, field 'labels', row {row}"
                raise DataError(f"{place}: is NaN; drop rows without a label")
        if ties := int((labels[..., 0] == labels[..., 1]).sum()):
            warnings = [f"labels: {ties} pairs say yes as much as no and count as no, as in MulT's code"]
        labels, label_names = labels.argmax(2), EMOTIONS
    return splits.assembled(path, NAME, source, fields, modalities, labels, label_names=label_names, warnings=warnings)


def has_layout(content: object) -> bool:
    """Whether the fields are those that MulT and MultiBench share."""
    shared = has(content, "labels") and any(has(content, m) for m in _MOSI.modalities)
    return shared and not any(has(content, field) for field in MMSA_ONLY)


def like_multibench(content: object) -> bool:
    """Whether fields that MulT and MultiBench share are MultiBench's.

    Both have features of 300, 74 and 35 numbers. Labels (N, 4, 2), audio of another width than 74 and vision of another
    than 35 are MulT's. Otherwise, labels without MulT's three axes are MultiBench's, and so is one id for each row:
    MulT gives video, start and end of each row, or no id. A file of MulT's MOSEI with one id for each row would be
    taken for MultiBench's: features and labels would be the same, provenance would name the wrong release.
    """
    widths = [shape(content, m)[2:] for m in ("audio", "vision")]
    if _has_emotions(content) or widths != [(74,), (35,)]:
        return False
    ids = splits.array_of(splits.first(content, "id"))
    one_each = ids.ndim > 0 and len(ids) > 0 and splits.array_of(ids[0]).size == 1
    return len(shape(content, "labels")) != 3 or one_each


def _has_emotions(content: object) -> bool:
    return shape(content, "labels")[1:2] == (4,)
