"""Padding in front and at the end, broken numbers, rows of any length."""

import numpy as np
import pytest
import torch

from mmlib.names import DataError
from mmlib.releases.sequences import padded, real_frames, repaired


def test_broken_numbers_become_zero_and_are_counted():
    x, count = repaired(np.array([[1.0, -np.inf], [np.nan, 2.0]]))
    assert x.tolist() == [[1.0, 0.0], [0.0, 2.0]] and count == 2 and x.dtype == np.float32


def test_padding_in_front_and_at_the_end_is_not_real_but_a_gap_is():
    rows = torch.tensor([[0, 0, 1, 2], [3, 0, 4, 0], [0, 0, 0, 0], [5, 0, 0, 0]])[..., None].float()
    expected = [[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert real_frames(rows).int().tolist() == expected


def test_rows_of_any_length_are_stacked():
    rows = [np.ones((2, 3)), None, np.full((1, 3), 2.0), np.zeros((0, 3))]
    x, frames = padded(rows, "file", "audio")
    assert x.shape == (4, 2, 3) and frames.int().tolist() == [[1, 1], [0, 0], [1, 0], [0, 0]]
    assert x.sum((1, 2)).tolist() == [6, 0, 6, 0]
    with pytest.raises(DataError, match=r"file: field 'audio', row 1: has shape \(1, 4\), expected \(frames, 3\)"):
        padded([np.ones((2, 3)), np.ones((1, 4))], "file", "audio")
    with pytest.raises(DataError, match="no row has a single frame"):
        padded([None], "file", "audio")
