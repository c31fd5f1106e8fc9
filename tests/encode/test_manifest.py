"""A spoilt manifest is a clear error or rows that make sense, nothing else."""

import random

import pytest
import torch

from mmlib.data.checks import DataError
from mmlib.encode.manifest import Manifest, manifest

CSV = "id,label,text,image,split,group\n" + "".join(
    f'{i},{i % 3},"words, {i}",{i}.png,{"train valid test".split()[i % 3]},g{i // 2}\n' for i in range(12)
)


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(b"no picture, but a file")
    return tmp_path


def mutated(content: bytes, lot: random.Random) -> bytes:
    content = bytearray(content)
    for _ in range(lot.randint(1, 4)):
        at = lot.randrange(len(content))
        change = lot.randrange(4)
        if change == 0:
            content[at] = lot.randrange(256)
        elif change == 1:
            del content[at : at + lot.randint(1, 20)]
        elif change == 2:
            content[at:at] = bytes(lot.choices(b'",\n\r\t\0;|/.\\0aZ\xff\xef', k=lot.randint(1, 6)))
        else:
            content[at:at] = content[: lot.randrange(len(content))]
        content = content or bytearray(b"x")
    return bytes(content)


def test_any_mutation_is_refused_or_makes_sense(folder):
    path, lot, read = folder / "manifest.csv", random.Random(0), 0
    for _ in range(500):
        path.write_bytes(mutated(CSV.encode(), lot))
        try:
            rows = manifest(path)
        except DataError as error:
            assert str(path) in str(error)
            continue
        read += 1
        assert isinstance(rows, Manifest) and len(set(rows.ids)) == len(rows.ids) == len(rows.split) == len(rows.target)
        assert set(rows.split) == {"train", "valid", "test"} and bool(torch.isfinite(rows.target.double()).all())
        files = [f for m in ("image", "audio") for f in rows.contents.get(m, ()) if f is not None]
        assert all(f.is_relative_to(folder) and ".." not in f.parts for f in files)
    assert 10 < read < 490
