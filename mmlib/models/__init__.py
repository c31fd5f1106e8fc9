"""Floor 2: one file per published system, MODELS, which names them, and how a trained one is kept."""

from mmlib.models.base import Prediction, System
from mmlib.models.catalogue import MODELS
from mmlib.models.saved import Saved, load, save

__all__ = ["MODELS", "Prediction", "Saved", "System", "load", "save"]
