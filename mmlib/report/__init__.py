"""What is measured, beside what is printed: rows, intervals, tables, figures, ranks, verdicts, the README's blocks."""

from mmlib.report.as_printed import flattened_f1_micro, relative_error
from mmlib.report.claims import page
from mmlib.report.intervals import corrected_interval
from mmlib.report.published import TABLES
from mmlib.report.rows import by_pattern, mean_and_deviation, reported, results
from mmlib.report.summary import summary
from mmlib.report.tables import compare_table

__all__ = [
    "TABLES", "by_pattern", "compare_table", "corrected_interval", "flattened_f1_micro", "mean_and_deviation", "page",
    "relative_error", "reported", "results", "summary",
]  # fmt: skip
