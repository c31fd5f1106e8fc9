"""One run is one execution of one notebook, one folder, one record. From a shell: python -m mmlib.runs STUDY.yaml"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmlib.runs.errors import Busy, CellError, RunError
from mmlib.runs.execution import Outcome, Run, run_notebook
from mmlib.runs.parameters import check_parameters, parameters_of
from mmlib.runs.rows import COLUMNS, RECORD, ROOT, collect, save
from mmlib.runs.study import plan

if TYPE_CHECKING:
    from mmlib.runs.records import Record, features_label


def __getattr__(name: str) -> Any:
    """`Record` and `features_label`, imported when they are first asked for: they need torch, which a worker does not."""
    if name in ("Record", "features_label"):
        return getattr(import_module("mmlib.runs.records"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
