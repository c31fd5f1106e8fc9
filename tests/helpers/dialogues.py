"""Data in dialogues of four rows, for the systems that need them."""

from dataclasses import replace

import numpy as np

from mmlib.data.dataset import Dataset
from mmlib.models.catalogue import MODELS

ROWS = 4


def in_dialogues(data: Dataset) -> Dataset:
    """Rows of a split that follow each other are a dialogue of two speakers; the last of a split may be shorter."""
    number = np.zeros(len(data), dtype=int)
    for split in np.unique(data.split):
        number[data.split == split] = np.arange((data.split == split).sum())
    group = [f"{split}-{i // ROWS}" for split, i in zip(data.split, number)]
    return replace(data, group=group, order=number % ROWS, speaker=np.array(["she", "he"])[number % 2])


def fitting(name: str, data: Dataset) -> Dataset:
    """The data as this system takes them: in dialogues, if it needs dialogues."""
    return in_dialogues(data) if MODELS[name].needs_dialogues else data
