"""One module per method; the `MODELS` registry; save and load."""

from mmlib.models.base import Prediction, System
from mmlib.models.catalogue import MODELS
from mmlib.models.overview import table
from mmlib.models.saved import Saved, load, save
