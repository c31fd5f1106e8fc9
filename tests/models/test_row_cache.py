"""A completed row is computed once, survives on disk, and is never taken from other weights."""

from dataclasses import replace

import pytest
import torch

from mmlib import synthetic
from mmlib.files import fingerprint
from mmlib.models.admc.row_cache import RowCache, row_contents
from mmlib.names import DataError

ROWS = [b"a" * 8, b"b" * 8, b"c" * 8]


class Counted:
    """Value of a row: its place in the list of rows."""

    def __init__(self):
        self.calls = []

    def __call__(self, places):
        self.calls.append(places.tolist())
        return places[:, None].float().expand(-1, 2)


def test_each_row_is_computed_once_in_the_order_asked():
    cache, compute = RowCache(), Counted()
    assert cache.get("m", ROWS[:2], compute)[:, 0].tolist() == [0, 1]
    assert cache.get("m", [ROWS[2], ROWS[0], ROWS[2]], compute)[:, 0].tolist() == [2, 0, 2]
    assert cache.get("m", ROWS[::-1], compute)[:, 0].tolist() == [2, 1, 0]
    assert compute.calls == [[0, 1], [2]]


def test_entries_are_never_shared_between_makers(tmp_path):
    for folder in (None, tmp_path):
        cache, compute = RowCache(folder), Counted()
        for maker in ("one", "two", "one"):
            cache.get(maker, ROWS, compute)
        assert compute.calls == [[0, 1, 2]] * 2


def test_memory_keeps_the_last_few_makers():
    cache, compute = RowCache(), Counted()
    for maker in range(9):
        cache.get(str(maker), ROWS, compute)
    cache.get("8", ROWS, compute)
    assert len(compute.calls) == 9
    cache.get("0", ROWS, compute)
    assert len(compute.calls) == 10


def test_rows_come_back_from_disk(tmp_path):
    first, compute = RowCache(tmp_path), Counted()
    first.get("m", ROWS[:2], compute)
    first.get("m", ROWS, compute)
    again = RowCache(tmp_path).get("m", ROWS[::-1], compute)
    assert again[:, 0].tolist() == [2, 1, 0] and compute.calls == [[0, 1], [2]]
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and f.suffix != ".safetensors"]


def test_a_file_of_other_weights_under_this_name_is_refused(tmp_path):
    RowCache(tmp_path).get("0123456789abcdef-one", ROWS, Counted())
    with pytest.raises(DataError, match=r"safetensors was made by other weights .*; delete it"):
        RowCache(tmp_path).get("0123456789abcdef-two", ROWS, Counted())


def test_a_damaged_file_is_named(tmp_path):
    RowCache(tmp_path).get("m", ROWS, Counted())
    file = next(tmp_path.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=rf"{file.name} is not a whole file of completed rows .*; delete it"):
        RowCache(tmp_path).get("m", ROWS, Counted())


def test_the_fingerprint_sees_weights_names_and_settings():
    weights = {"w": torch.ones(2, 3)}
    one = fingerprint(weights, {"start": 50})
    assert one == fingerprint({"w": torch.ones(2, 3)}, {"start": 50})
    others = [
        ({"w": torch.ones(3, 2)}, 50),
        ({"v": torch.ones(2, 3)}, 50),
        (weights, 51),
        ({"w": 2 * torch.ones(2, 3)}, 50),
    ]
    assert len({one, *(fingerprint(w, {"start": n}) for w, n in others)}) == 5


def test_a_row_is_what_it_observes_and_its_number():
    batch = synthetic.like("mosi", dim=3, length=4).sample({"train": 6, "valid": 1, "test": 1}).view("train")
    batch = batch.batch(torch.arange(6)).without("vision")
    whole = row_contents(batch)
    assert len(set(whole)) == 6 and whole[2:4] == row_contents(batch.select(torch.tensor([2, 3])))
    poisoned = {m: x.masked_fill(~batch.observed[m][..., None], torch.nan) for m, x in batch.x.items()}
    assert row_contents(replace(batch, x=poisoned)) == whole
    assert row_contents(replace(batch, index=batch.index + 1))[0] != whole[0]
    louder = batch.x | {"text": batch.x["text"] * 2}
    assert not set(row_contents(replace(batch, x=louder))) & set(whole)
    assert not set(row_contents(batch.without("audio"))) & set(whole)
