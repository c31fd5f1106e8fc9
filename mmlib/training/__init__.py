"""One loop for every system: `fit` trains and chooses on validation, `predict` and `evaluate` apply what was trained."""

from mmlib.training.evaluate import evaluate, pick_device, predict
from mmlib.training.fit import History, TrainingError, fit

__all__ = ["History", "TrainingError", "evaluate", "fit", "pick_device", "predict"]
