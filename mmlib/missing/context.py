"""Frames hidden after a contextual encoder are not gone: the frames that are left still tell of them."""

from mmlib.data.dataset import Dataset
from mmlib.missing.protocols import Protocol


def warning(data: Dataset, protocol: Protocol) -> str:
    """A sentence for tables and figures where the protocol hides some frames of a contextual encoder (on test), else ""."""
    rows, visible = data.rows("test").cpu(), protocol.observed(data, "test", seed=0)
    real = {m: data.observed[m].cpu()[rows] for m in data.contextual}
    partly = [m for m, f in real.items() if bool((visible[m].any(1) & (visible[m] != f).any(1)).any())]
    if not partly:
        return ""
    told = "the frames that are left still tell of them; only words hidden before the encoder are gone (mmlib.encode --hide)"
    return f"{' and '.join(partly)} frames are hidden after a contextual encoder: {told}"
