"""Libraries that are slow to import or need repair: transformers, open_clip, torchvision, imported where needed."""

import sys

import torch

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # what it defines lasts as long as it does


def auto_model():
    """transformers, imported where it is first needed: it takes seconds, and few runs do."""
    mend_torchvision()
    from transformers import AutoModel

    return AutoModel


def mend_torchvision() -> None:
    """transformers imports torchvision, whose wheel for CUDA beside a torch without it lacks two operators' schemas."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
