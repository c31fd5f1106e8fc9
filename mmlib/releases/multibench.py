"""MultiBench's release of MOSI and MOSEI (Liang et al., NeurIPS 2021): mosi_raw.pkl and mosei_raw.pkl.

The fields of MulT's release, padded in front to 50 frames: text, audio and vision (N, 50, 300 / 74 / 35), one label and one
id for each row. Unlike in MulT's, MOSI has all of COVAREP and Facet.
"""

from pathlib import Path

from mmlib.data.dataset import Dataset
from mmlib.releases import mult
from mmlib.releases.splits import COVAREP, GLOVE, Source, assembled, checked, id_form, modality, shape, stacked

NAME = "MultiBench"

_FEATURES = {**GLOVE, **COVAREP, "vision": (35, "Facet 4.2, 35 per frame")}
_MOSI, _MOSEI = Source("MOSI", _FEATURES), Source("MOSEI", _FEATURES)
_MOSI_ROWS = 1284 + 229 + 686  # all clips of MOSI


def fits(content: object) -> bool:
    """Whether this is MultiBench's release, which has the fields of MulT's: see `mult.like_multibench`."""
    return mult.has_layout(content) and mult.like_multibench(content)


def dataset(content: dict, path: Path) -> Dataset:
    """MOSI or MOSEI as regression: MOSEI where the file's name says so or it has more rows than MOSI.

    Raises DataError, before it converts anything, for fields that are not as the release documents them.
    """
    form = {m: ("rows", 50, width) for m, width in _MOSI.widths.items()}
    form |= {"labels": ("rows", *[1] * (len(shape(content, "labels")) - 1)), "id": id_form(content)}
    splits = checked(content, path, NAME, (_MOSI, _MOSEI), form)
    labels = stacked(splits, "labels")
    named = [name for name in ("MOSEI", "MOSI") if name.lower() in path.name.lower()]
    source = _MOSEI if "MOSEI" in named or len(labels) > _MOSI_ROWS else _MOSI
    warnings = [] if source.name in named else [f"the file does not say that it is {source.name}: rename it"]
    modalities = {m: modality(splits, m) for m in _FEATURES}
    return assembled(path, NAME, source, splits, modalities, labels, warnings=warnings)
