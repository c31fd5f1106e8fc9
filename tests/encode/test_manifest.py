"""A spoilt manifest is a clear error or rows that make sense, nothing else."""

import random
import re
from pathlib import Path

import pytest
import torch

from mmlib.encode.manifest import Manifest, manifest
from mmlib.names import DataError

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


def test_the_manifest_of_the_readme(tmp_path):
    readme = Path(__file__).parents[2] / "data" / "README.md"
    (content,) = re.findall(r"```csv\n(.*?)```", readme.read_text(), re.DOTALL)
    (tmp_path / "manifest.csv").write_text(content)
    (tmp_path / "posters").mkdir()
    for name in re.findall(r"posters/\d+\.jpg", content):
        (tmp_path / name).write_bytes(b"no picture, but a file")
    rows = manifest(tmp_path / "manifest.csv")
    assert rows.task == "multilabel" and rows.label_names == ("Comedy", "Drama", "Horror", "War") and not rows.lost
    assert rows.ids == ["0000001", "0000002", "0000003", "0000004"] and rows.split == [
        "train",
        "train",
        "valid",
        "test",
    ]
    assert [text is None for text in rows.contents["text"]] == [False, False, False, True]
    assert [file is None for file in rows.contents["image"]] == [False, False, True, False]
