"""Floor 0: datasets, the feature archive, synthetic data."""

from mmlib.data.archive import read, write
from mmlib.data.dataset import Batch, DataError, Dataset

__all__ = ["Batch", "DataError", "Dataset", "read", "write"]
