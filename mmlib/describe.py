"""A Dataset in a few lines: rows, labels, and for each modality its shape and what is missing."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from mmlib.names import SPLITS

_LABELS = 8
_WARNING = 160  # characters


def text(data: Any) -> str:
    table = _table(data).to_string()
    return "\n".join([_title(data), table, *_notes(data)])


def html(data: Any) -> str:
    title, *notes = (line.replace("&", "&amp;").replace("<", "&lt;") for line in (_title(data), *_notes(data)))
    return f"<b>{title}</b>{_table(data).to_html()}" + "".join(f"<div>{note}</div>" for note in notes)


def _title(data: Any) -> str:
    counts = ", ".join(f"{s} {(data.split == s).sum():,}" for s in SPLITS if (data.split == s).any())
    return f"{data.name}: {len(data):,} rows ({counts}), {data.task}"


def _table(data: Any) -> pd.DataFrame:
    lines = {}
    for m, x in data.features.items():
        frames, width = x.shape[1:]
        present, observed = data.present[m], data.observed[m]
        length = f"{observed[present].sum(1).float().mean():.1f} of {frames}" if frames > 1 and present.any() else "1"
        lines[m] = {"width": width, "frames": length, "missing": f"{1 - present.float().mean():.1%}"}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("modality")


def _notes(data: Any) -> list[str]:
    notes = [f"labels: {_labels(data)}"]
    if data.scaling is not None:
        notes.append("features are standardised")
    for warning in data.provenance.get("warnings", ()):
        notes.append(f"warning: {warning if len(warning) <= _WARNING else warning[:_WARNING] + ' (cut)'}")
    return notes


def _labels(data: Any) -> str:
    y = data.target.cpu()
    if data.task == "regression":
        return f"{y.min():.3g} to {y.max():.3g}, mean {y.mean():.3g}"
    if data.task == "multiclass":
        shares = torch.bincount(y, minlength=len(data.label_names)).numpy() / len(y)
    else:
        shares = y.mean(0).numpy()
    order = np.argsort(-shares, kind="stable")
    named = [f"{data.label_names[i]} {shares[i]:.1%}" for i in order[:_LABELS]]
    return ", ".join(named) + (f" and {len(order) - _LABELS} more" if len(order) > _LABELS else "")
