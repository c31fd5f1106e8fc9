"""What is measured, compared with what is printed: rows, tables, figures, ranks, claims, and the README's results."""

from mmlib.report.claims.page import by_chance, page, verdicts
from mmlib.report.cost import cost, machine, ratios, shares, slopes
from mmlib.report.datasets import at_the_ends, headroom_table, show_worth, trial_table, worth_table
from mmlib.report.findings import findings
from mmlib.report.gains import comparisons, gained, peers
from mmlib.report.headroom import has_vote, headroom
from mmlib.report.intervals import corrected_interval, paired
from mmlib.report.mcar import dependence
from mmlib.report.paper_metrics import flattened_f1_micro, relative_error
from mmlib.report.published import TABLES
from mmlib.report.rows import by_pattern, mean_and_deviation, reported, results
from mmlib.report.summary import summary
from mmlib.report.tables import compare_table, show_table
from mmlib.report.worth import contributions, worth
