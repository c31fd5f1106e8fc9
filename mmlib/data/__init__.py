"""Datasets and the feature archive."""

from mmlib.data.archive import read, write
from mmlib.data.dataset import Batch, Dataset
from mmlib.names import DataError
