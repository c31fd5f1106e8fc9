"""Datasets and the feature archive."""

from mmlib.data.archive import read, write
from mmlib.data.checks import DataError
from mmlib.data.dataset import Batch, Dataset
