"""Floor 0: datasets, the feature archive, public releases, synthetic data."""

from pathlib import Path

from mmlib.data.archive import read, write
from mmlib.data.dataset import Batch, DataError, Dataset

__all__ = ["Batch", "DataError", "Dataset", "load", "read", "write"]


def load(path: Path | str, **options) -> Dataset:
    """See mmlib.data.releases.load, whose readers are imported only where they are needed."""
    from mmlib.data import releases

    return releases.load(path, **options)
