"""Order of tests, and what is compared of notebooks: text, for pictures and rich tables differ between machines."""

import jaxtyping
import pytest
import torch

_NOT_COMPARED = ("stderr", "text/html", "image/png")


def pytest_collectstart(collector):
    if type(collector).__name__ == "IPyNbFile":
        collector.skip_compare += _NOT_COMPARED


@pytest.fixture(autouse=True)
def _shapes_are_checked_in_short_tests(request):
    # A long training makes the calls of the short ones again and again; checks would be two fifths of its time.
    jaxtyping.config.update("jaxtyping_disable", "slow" in request.keywords)


def pytest_collection_modifyitems(items):
    # Workers take whole files in this order, and the last files should be short: studies, notebooks, files with slow tests.
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda i: ("tests/runs" not in i.nodeid, i.path.suffix != ".ipynb", i.path not in slow))
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
