"""One run is one execution of one notebook, one folder, one record. From a shell: python -m mmlib.runs STUDY.yaml"""

from mmlib.runs.errors import Busy, CellError, RunError
from mmlib.runs.execution import Outcome, Run, run_notebook
from mmlib.runs.parameters import check_parameters, parameters_of
from mmlib.runs.records import COLUMNS, RECORD, ROOT, Record, collect, features_label, save
from mmlib.runs.study import plan
