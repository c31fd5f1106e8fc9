"""The only module that imports transformers, open_clip and torchvision, late: the imports take seconds, few runs need them."""

import os
import socket
import sys
from functools import cache
from urllib.parse import urlsplit

import torch

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # its definitions end when it is deleted


_WAIT = 3.0  # seconds


def transformers():
    go_offline_if_unreachable()
    mend_torchvision()
    import transformers

    return transformers


def open_clip():
    go_offline_if_unreachable()
    mend_torchvision()
    import open_clip

    return open_clip


@cache
def go_offline_if_unreachable() -> None:
    """Without a network the hub's client retries for a minute; told to be offline, it fails at once or finds its cache.

    Must be called before huggingface_hub is imported. A proxy, or HF_HUB_OFFLINE set by the user, is left alone.
    """
    proxies = {"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}
    if "HF_HUB_OFFLINE" in os.environ or proxies & set(os.environ):
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.create_connection((address.hostname, address.port or 443), _WAIT).close()
    except OSError as e:
        os.environ["HF_HUB_OFFLINE"] = "1"
        print(f"{address.hostname} cannot be reached ({e}); models come from the cache alone", file=sys.stderr)


def mend_torchvision() -> None:
    """Imports torchvision, and first defines two operators that its CUDA wheel lacks beside a torch without CUDA."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
