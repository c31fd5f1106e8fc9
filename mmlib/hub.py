"""The only module that imports transformers, open_clip and torchvision, late: the imports take seconds, few runs need them."""

import sys

import torch

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # its definitions end when it is deleted


def transformers():
    mend_torchvision()
    import transformers

    return transformers


def open_clip():
    mend_torchvision()
    import open_clip

    return open_clip


def mend_torchvision() -> None:
    """Imports torchvision, and first defines two operators that its CUDA wheel lacks beside a torch without CUDA."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
