"""One training loop for every system: `fit` trains and validates, `tune` chooses settings, `predict` and `evaluate` apply."""

from mmlib.training.checkpoint import TrainingError
from mmlib.training.evaluate import evaluate, pick_device, predict
from mmlib.training.fit import History, fit
from mmlib.training.tune import Tuned, tune
