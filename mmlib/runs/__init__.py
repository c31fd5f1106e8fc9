"""One run is one execution of one notebook, one folder, one record. From a shell: python -m mmlib.runs STUDY.yaml"""

from mmlib.runs.errors import Busy, CellError, RunError
from mmlib.runs.execution import Outcome, Run, execute
from mmlib.runs.parameters import check_injected, check_parameters
from mmlib.runs.records import COLUMNS, RECORD, ROOT, collect, record, score_rows
from mmlib.runs.study import plan

__all__ = [
    "COLUMNS", "RECORD", "ROOT", "Busy", "CellError", "Outcome", "Run", "RunError", "check_injected",
    "check_parameters", "collect", "execute", "plan", "record", "score_rows",
]  # fmt: skip
