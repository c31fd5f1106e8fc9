"""Floor 4: one run = one execution of one notebook = one folder with one record. Execute, record, collect.

From a shell: `python -m mmlib.runs notebooks/studies/demo.yaml`.
"""

from mmlib.runs.errors import Busy, CellError, RunError
from mmlib.runs.execution import Outcome, Run, execute
from mmlib.runs.parameters import check_injected, check_parameters
from mmlib.runs.records import COLUMNS, RECORD, ROOT, collect, record, score_rows
from mmlib.runs.study import plan
from mmlib.runs.tables import by_pattern, mean_and_deviation, reported, results

__all__ = [
    "COLUMNS", "RECORD", "ROOT", "Busy", "CellError", "Outcome", "Run", "RunError", "by_pattern", "check_injected",
    "check_parameters", "collect", "execute", "mean_and_deviation", "plan", "record", "reported", "results", "score_rows",
]  # fmt: skip
