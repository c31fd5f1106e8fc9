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


@pytest.mark.parametrize("column", ["vision", "video"])
def test_vision_is_a_column_of_files_which_may_be_called_video(folder, column):
    path = folder / "manifest.csv"
    path.write_text(CSV.replace("image", column))
    rows = manifest(path)
    assert set(rows.contents) == {"text", "vision"} and rows.contents["vision"][2] == folder / "2.png"
    assert not rows.warnings
    path.write_text(CSV.replace("image", column).replace("3.png", "/3.png"))
    with pytest.raises(DataError, match=r"field 'vision', row 3 \(id '3'\): '/3.png' is absolute"):
        manifest(path)
    path.write_text(CSV.replace("image", column).replace(".png", ".mp4"))
    with pytest.raises(DataError, match="field 'vision': none of the files is there, .*; correct it, or take the col"):
        manifest(path)
    splits = ["train", "valid", "test"]
    rows = manifest(
        [{"id": s, "label": "a", column: f"{i}.png", "split": s} for i, s in enumerate(splits)], folder=folder
    )
    assert list(rows.contents) == ["vision"]


def test_video_and_vision_are_one_column(folder):
    path = folder / "manifest.csv"
    path.write_text(CSV.replace("text", "video").replace("image", "vision"))
    with pytest.raises(
        DataError, match="manifest.csv: field 'video': means vision, which is a column, too; take one out"
    ):
        manifest(path)


def test_columns_that_are_not_read_are_in_the_warnings(folder):
    path = folder / "manifest.csv"
    path.write_text(CSV.replace("group", "images,visual", 1).replace(",g", ",x,g"))
    assert manifest(path).warnings == ["columns not read: images, visual; did you mean 'vision'?"]


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
