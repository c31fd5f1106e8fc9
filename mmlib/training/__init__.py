"""One training loop for every system: `fit` trains and validates, `predict` and `evaluate` apply the trained system."""

from mmlib.training.checkpoint import TrainingError
from mmlib.training.evaluate import evaluate, pick_device, predict
from mmlib.training.fit import History, fit
