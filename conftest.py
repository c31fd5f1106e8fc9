"""Notebook comparison: pictures, progress bars and rich tables differ between machines; their text is compared."""

import pytest
import torch

_NOT_COMPARED = ("stderr", "text/html", "image/png")


def pytest_collectstart(collector):
    if type(collector).__name__ == "IPyNbFile":
        collector.skip_compare += _NOT_COMPARED


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
