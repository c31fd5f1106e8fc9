"""Raw data to an archive: checked first, each content encoded once, whatever cannot be read listed. Tiny real models."""

import csv
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmlib.data.archive import read
from mmlib.encode.encode import encode, main
from mmlib.encode.encoders import Encoder, clip_encoders, custom, tokens
from mmlib.encode.manifest import manifest
from mmlib.names import DataError
from tests.encode.conftest import WORDS
from tests.helpers import mintrec

SPLITS = ["train", "train", "train", "valid", "test", "test"]
FIELDS = ["id", "text", "image", "label", "split"]


def picture(path: Path, seed: int, mode: str = "RGB", size: tuple[int, int] = (40, 60)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
    return path


def save(path: Path, rows: list[dict], fields: list[str] | None = None) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fields or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def films(tmp_path) -> list[dict]:
    """Six rows of text, picture, label and split; the pictures lie in tmp_path."""
    for i in range(6):
        picture(tmp_path / f"{i}.png", i)
    return [
        {"id": f"f{i}", "text": WORDS[i], "image": f"{i}.png", "label": "ab"[i % 2], "split": SPLITS[i]}
        for i in range(6)
    ]


class Counted:
    """An encoder whose feature is the sum of the bytes and their number; it remembers what it was asked, and can fail."""

    def __init__(self, mark="1", fail_at=None):
        self.asked, self.fail_at = [], fail_at
        self.encoder = custom(self, "sum", mark, load=lambda c: list(c if isinstance(c, bytes) else c.encode()))

    def __call__(self, batch):
        if len(self.asked) == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append(len(batch))
        return torch.tensor([[sum(content) / 1000, len(content)] for content in batch])


def both(text: Counted | None = None, image: Counted | None = None) -> dict[str, Encoder]:
    return {"text": (text or Counted()).encoder, "image": (image or Counted()).encoder}


def encoded(rows, folder, encoders, **options):
    options = {"cache": folder / "cache", "batch": 2, "progress": False} | options
    return encode(rows if hasattr(rows, "contents") else manifest(rows, folder=folder), encoders, **options)


# The manifest


def test_a_csv_gives_the_rows_as_they_stand(films, tmp_path):
    films[2] |= {"text": " ", "image": ""}
    rows = manifest(save(tmp_path / "films.csv", [{**f, "group": f["label"]} for f in films]))
    assert rows.ids == ["f0", "f1", "f2", "f3", "f4", "f5"] and rows.split == SPLITS and rows.group == list("ababab")
    assert rows.contents["text"][:3] == [*WORDS[:2], None]
    assert rows.contents["image"][:3] == [tmp_path / "0.png", tmp_path / "1.png", None]
    assert set(rows.contents) == {"text", "image"} and not rows.lost


def test_a_folder_is_read_by_its_manifest(films, tmp_path):
    save(tmp_path / "manifest.csv", films)
    assert manifest(tmp_path).ids == [f["id"] for f in films]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "f0"}, r"field 'id', row 2 \(id 'f0'\): is also row 0; ids must be unique, drop or rename one"),
        ({"id": ""}, r"field 'id', row 2 \(id 'None'\): is empty; fill it in or drop the row"),
        ({"split": "dev"}, r"field 'split', row 2 \(id 'f2'\): 'dev' is not one of train, valid, test; rename it"),
        ({"split": ""}, r"field 'split', row 2 \(id 'f2'\): '' is not one of"),
        ({"label": ""}, r"field 'label', row 2 \(id 'f2'\): is empty; fill it in or drop the row"),
        ({"label": "a||b"}, r"field 'label', row 2 \(id 'f2'\): 'a\|\|b' has an empty part; take out the extra '\|'"),
        ({"image": "../2.png"}, r"field 'image', row 2 \(id 'f2'\): '../2.png' leads out of .*; move the file there"),
        ({"image": "x/../2.png"}, r"field 'image', row 2 \(id 'f2'\): 'x/../2.png' leads out"),
        ({"image": "..\\2.png"}, r"field 'image', row 2 \(id 'f2'\): .* leads out"),
        ({"image": "C:\\2.png"}, r"field 'image', row 2 \(id 'f2'\): .* leads out"),
        ({"image": "/etc/passwd"}, r"field 'image', row 2 \(id 'f2'\): '/etc/passwd' is absolute; write it relative"),
    ],
)
def test_a_wrong_field_is_named_with_its_row_and_a_remedy(films, tmp_path, changes, message):
    films[2] |= changes
    with pytest.raises(DataError, match=rf"films\.csv: {message}"):
        manifest(save(tmp_path / "films.csv", films))


def test_an_absolute_path_of_a_csv_is_refused_even_inside_the_folder(films, tmp_path):
    films[2]["image"] = str(tmp_path / "2.png")
    assert manifest(films, folder=tmp_path).contents["image"][2] == tmp_path / "2.png"
    with pytest.raises(DataError, match=r"row 2 \(id 'f2'\): .* is absolute"):
        manifest(save(tmp_path / "films.csv", films))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["text", "label"], r"field 'id': the column is missing; add it"),
        (["id", "text"], r"field 'label': the column is missing; add it"),
        (["id", "label"], r"field 'text': there is no column of text, image, audio, vision; add at least one"),
    ],
)
def test_a_missing_column_is_named(films, tmp_path, fields, message):
    with pytest.raises(DataError, match=message):
        manifest(save(tmp_path / "films.csv", [{k: f[k] for k in fields} for f in films]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "field 'id': there are no rows"),
        (b"id,text,label\n", "field 'id': there are no rows"),
        (
            b"id,text,label\n1,a film, they say,x\n",
            r"field 'label', row 0 \(id '1'\): has 4 fields, the header 3; quote",
        ),
        (b"id,text,label\n1,a\n", r"field 'text', row 0 \(id '1'\): has 2 fields, the header 3"),
        (b"id,text,text,label\n1,a,b,x\n", "field 'text': two columns have this name; rename one"),
        (b"id,text,label\n1,\xff\xfe,x\n", "is not CSV in UTF-8 .*; save it as that"),
        (b'id,text,label\n1,"a,x\n', "is not CSV in UTF-8 .*; save it as that"),
        (b"id,text,label\n1,,x\n2,,y\n", "field 'text': no row has any content"),
        (b"id,text,label\n1,a,x\n2,b,y\n", "field 'split': no row is in '.*give every split rows"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path, content, message):
    (tmp_path / "films.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"films\.csv: {message}"):
        manifest(tmp_path / "films.csv")


def test_a_manifest_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"films\.csv: cannot be opened \(No such file"):
        manifest(tmp_path / "films.csv")
    with pytest.raises(DataError, match=r"manifest\.csv: cannot be opened \(No such file"):
        manifest(tmp_path)


def labelled(films, labels, **options):
    rows = manifest([{**f, "image": None, "label": label} for f, label in zip(films, labels)], **options)
    return rows.task, rows.target.tolist(), rows.label_names


def test_the_labels_decide_the_task(films):
    assert labelled(films, ["1", "-2.5", "0", 3, 1e3, "7"]) == ("regression", [1, -2.5, 0, 3, 1e3, 7], ())
    assert labelled(films, list("babcab")) == ("multiclass", [1, 0, 1, 2, 0, 1], ("a", "b", "c"))
    several = [[0, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0]]
    assert labelled(films, ["b", "a|b", "b", "c", "c | a", "a"]) == ("multilabel", several, ("a", "b", "c"))
    lists = [["b"], ("a", "b"), ["b"], ["c"], ["c", "a"], {"a"}]
    assert labelled(films, lists) == ("multilabel", several, ("a", "b", "c"))
    assert labelled(films, [[], *lists[1:]])[1][0] == [0, 0, 0]


def test_a_given_task_overrides(films):
    numbers = ["10", "9", "9", "10", "9", "1"]
    assert labelled(films, numbers, task="multiclass") == ("multiclass", [2, 1, 1, 2, 1, 0], ("1", "9", "10"))
    assert labelled(films, list("aababb"), task="multilabel")[0::2] == ("multilabel", ("a", "b"))
    assert labelled(films, ["a|b", *"ababa"], task="multiclass")[2] == ("a", "a|b", "b")
    with pytest.raises(DataError, match="the task 'ranking' is not one of regression"):
        labelled(films, numbers, task="ranking")


@pytest.mark.parametrize("label", ["high", "nan", "inf", "1e39"])
def test_a_number_that_is_none_is_named(films, label):
    with pytest.raises(DataError, match=rf"'label', row 1 \(id 'f1'\): '{label}' is not a number; correct it, or say"):
        labelled(films, ["1", label, "3", "4", "5", "6"])


def test_without_splits_the_hash_decides_and_groups_stay_together():
    rows = [{"id": i, "text": "a", "label": "x"} for i in range(3000)]
    split = manifest(rows).split
    shares = [split.count(s) / 3000 for s in ("train", "valid", "test")]
    assert np.allclose(shares, [0.7, 0.1, 0.2], atol=0.03)
    assert manifest(rows[::-1]).split == split[::-1]
    assert [s[:2] for s in split[:12]] == "tr te tr tr tr tr tr te tr tr te te".split()
    grouped = manifest([{**row, "group": f"g{row['id'] % 50}"} for row in rows])
    assert len({(g, s) for g, s in zip(grouped.group, grouped.split)}) == 50
    assert "70 % train" in grouped.split_source


# What is computed, and what is not


def test_features_stand_in_the_rows_of_their_contents(films, tmp_path):
    films[1]["text"], films[4]["image"] = "", ""
    data = encoded(films, tmp_path, both())
    for i, film in enumerate(films):
        picture_bytes = film["image"] and (tmp_path / film["image"]).read_bytes()
        for m, content in (("text", film["text"].encode()), ("image", picture_bytes)):
            assert data.present[m][i] == bool(content)
            np.testing.assert_allclose(
                data.features[m][i, 0], [sum(content) / 1000, len(content)] if content else [0, 0]
            )
    assert list(data.ids) == [f["id"] for f in films] and list(data.split) == SPLITS
    assert data.target.tolist() == [0, 1] * 3 and data.label_names == ("a", "b")


def test_the_same_content_is_computed_once_whatever_its_name(films, tmp_path):
    (tmp_path / "again.png").write_bytes((tmp_path / "0.png").read_bytes())
    films[5] |= {"image": "again.png", "text": WORDS[0]}
    text, image = Counted(), Counted("2")
    data = encoded(films, tmp_path, both(text, image))
    assert text.asked == image.asked == [2, 2, 1]
    for m in data.modalities:
        assert torch.equal(data.features[m][5], data.features[m][0])


def test_a_second_run_computes_nothing_and_gives_the_same(films, tmp_path):
    first = encoded(films, tmp_path, both())
    for file in list(tmp_path.glob("*.png")):
        file.rename(tmp_path / f"new {file.name}")
    text, image = Counted(), Counted()
    renamed = [{**f, "image": f"new {f['image']}"} for f in films[::-1]]
    again = encoded(renamed, tmp_path, both(text, image), batch=5)
    assert text.asked == image.asked == []
    for m in first.modalities:
        assert torch.equal(first.features[m], again.features[m].flip(0))


def test_another_model_finds_nothing_of_this_one(films, tmp_path):
    encoded(films, tmp_path, both())
    text, image = Counted("2"), Counted()
    encoded(films, tmp_path, both(text, image))
    assert text.asked == [2, 2, 2] and image.asked == []


def test_a_killed_run_goes_on_where_it_was(films, tmp_path):
    killed = Counted(fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        encoded(films, tmp_path, both(killed))
    resumed = Counted()
    data = encoded(films, tmp_path, both(resumed))
    assert killed.asked == [2, 2] and resumed.asked == [2]
    whole = encoded(films, tmp_path, both(), cache=tmp_path / "fresh")
    assert data.fingerprint == whole.fingerprint
    assert not [f for f in (tmp_path / "cache").rglob("*") if f.is_file() and f.suffix != ".npz"]


def test_a_cache_file_is_never_half_written(films, tmp_path, monkeypatch):
    def half(file, **arrays):
        file.write(b"PK half")
        assert not list((tmp_path / "cache").rglob("*.npz"))
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(np, "savez", half)
        encoded(films, tmp_path, both())
    assert not [f for f in (tmp_path / "cache").rglob("*") if f.is_file()]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "array", "other"])
def test_a_damaged_cache_file_is_computed_again(films, tmp_path, damage):
    first = encoded(films, tmp_path, both(), batch=6)
    for file in (tmp_path / "cache").rglob("*.npz"):
        whole = bytearray(file.read_bytes())
        keys, values = (np.load(file)[name] for name in ("keys", "values"))
        at = whole.index(values.tobytes())
        whole[at] ^= 1
        if damage == "array":
            np.save(file.open("wb"), values)
        elif damage == "other":
            np.savez(file, keys=keys, lengths=np.full(6, 2), values=values)
        else:
            content = {"cut": whole[:-30], "flipped": whole, "empty": b"", "text": b"<html>"}
            file.write_bytes(content[damage])
    counted = Counted()
    again = encoded(films, tmp_path, both(counted, counted))
    assert counted.asked == [2, 2, 2] * 2
    assert first.fingerprint == again.fingerprint
    last = Counted()
    encoded(films, tmp_path, both(last, last))
    assert last.asked == []


def test_the_order_of_the_rows_changes_no_batch(films, tmp_path):
    logs: list[list] = [[], []]
    for log, rows in zip(logs, (films, films[::-1])):
        seen = custom(lambda batch, log=log: log.append(batch) or torch.ones(len(batch), 1), "seen", str(id(log)))
        encoded(rows, tmp_path, {"text": seen, "image": seen})
    assert logs[0] == logs[1] and logs[0][0] == [WORDS[4], WORDS[1]]


def test_the_order_of_the_rows_changes_nothing(films, tmp_path, tiny_clip):
    encoders = clip_encoders(tiny_clip)
    data = encoded(films, tmp_path, encoders)
    turned = encoded(films[::-1], tmp_path, encoders, cache=tmp_path / "fresh")
    assert list(turned.ids) == list(data.ids[::-1])
    for m in data.modalities:
        assert torch.equal(data.features[m], turned.features[m].flip(0))
    single = encoded(films, tmp_path, encoders, cache=tmp_path / "single", batch=1, workers=1)
    torch.testing.assert_close(single.features, data.features, rtol=1e-4, atol=1e-5)


# What cannot be read


def test_unreadable_files_count_as_missing_and_are_listed(films, tmp_path, tiny_clip, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    whole = picture(tmp_path / "whole.jpg", 0).read_bytes()
    bad = {
        "cut.jpg": whole[:-100],
        "foreign.jpg": b"<html>not found</html>",
        "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n",
        "empty.png": b"",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    picture(tmp_path / "bomb.png", 0, size=(80, 60))
    picture(tmp_path / "big bomb.png", 0, size=(180, 60))
    picture(tmp_path / "thin.png", 0, size=(1, 150))
    (tmp_path / "folder.png").mkdir()
    names = [*bad, "bomb.png", "big bomb.png", "thin.png", "folder.png", "gone.png"]
    rows = films + [{**films[i % 6], "id": name, "image": name} for i, name in enumerate(names)]
    data = encoded(rows, tmp_path, clip_encoders(tiny_clip))
    assert data.present["text"].all() and data.present["image"].tolist() == [True] * 6 + [False] * len(names)
    assert data.provenance["warnings"] == ["image: 9 of 15 could not be read and count as missing"]
    told = data.provenance["derived"]
    reasons = dict(zip(names, [
        ".*truncated", "UnidentifiedImageError", "UnidentifiedImageError", "UnidentifiedImageError",
        "DecompressionBombWarning", "DecompressionBombError", "ValueError: 1 x 150 pixels are no picture",
        "is not there", "is not there",
    ]))  # fmt: skip
    for name, reason in reasons.items():
        assert any(re.match(rf"image '{name}' of '{name}' counts as missing: {reason}", line) for line in told), name
    assert len(told) == len(names)


def test_a_file_that_is_not_readable_is_a_missing_one(films, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied") if path.name == "3.png" else OSError("other")

    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(path) if path.name == "3.png" else real(path))
    data = encoded(films, tmp_path, both())
    assert data.present["image"].tolist() == [True, True, True, False, True, True]
    assert "PermissionError" in data.provenance["derived"][0]


def test_a_row_without_any_content_left_is_dropped_and_listed(films, tmp_path):
    films[1] |= {"text": "", "image": "gone.png"}
    films[5] |= {"text": None, "image": None}
    data = encoded([{**f, "group": f["id"]} for f in films], tmp_path, both())
    assert list(data.ids) == list(data.group) == ["f0", "f2", "f3", "f4"] and data.target.tolist() == [0, 0, 1, 0]
    assert data.features["image"][3, 0, 1] == len((tmp_path / "4.png").read_bytes())
    assert "2 of 6 rows had no content and were dropped" in data.provenance["warnings"]
    assert {"'f1' is dropped: it has no content", "'f5' is dropped: it has no content"} < set(
        data.provenance["derived"]
    )


class Frames:
    """An encoder of bytes in frames of two: an odd byte is NaN, and what is empty gives no frame, or an error."""

    def __init__(self, raises=False):
        self.asked, self.raises = [], raises
        self.encoder = custom(self, "frames", "1", load=list)

    def __call__(self, batch):
        self.asked.append(len(batch))
        if self.raises and [] in batch:
            raise RuntimeError("kernel size can't be greater than input size")
        return [torch.tensor([x if x % 2 == 0 else torch.nan for x in c]).reshape(-1, 2) for c in batch]


@pytest.mark.parametrize("raises", [False, True])
def test_a_clip_without_features_counts_as_missing_and_is_listed(films, tmp_path, raises):
    clips = [b"abcd", b"", b"bbdd", b"bd", b"", b"bbbb"]
    clips[0] = bytes([2, 2, 3, 2])  # one number that is NaN
    for i, clip in enumerate(clips):
        films[i]["audio"] = f"{i}.raw"
        (tmp_path / f"{i}.raw").write_bytes(clip)
    sounds = Frames(raises)
    for again in range(2):
        data = encoded(films, tmp_path, both() | {"audio": sounds.encoder}, batch=6)
        assert data.present["audio"].tolist() == [False, False, True, True, False, True] and len(data) == 6
        assert data.observed["audio"].sum(1).tolist() == [0, 0, 2, 1, 0, 2]
        assert data.features["audio"][2].tolist() == [[98, 98], [100, 100]]
        assert data.provenance["warnings"] == ["audio: 3 of 6 could not be read and count as missing"]
        told, empty = (
            data.provenance["derived"],
            "RuntimeError: kernel size" if raises else "its features have no frame",
        )
        assert len(told) == 3 and "audio '0.raw' of 'f0' counts as missing: its features hold NaN or infinity" in told
        for i in (1, 4):
            assert any(line.startswith(f"audio '{i}.raw' of 'f{i}' counts as missing: {empty}") for line in told)
        # Equal contents are one; a second run asks only for what has no features.
        assert sounds.asked == [[5], [5, 2]][again] if not raises else sounds.asked[0] == 5
        assert len(list((tmp_path / "cache" / sounds.encoder.fingerprint).glob("*.npz"))) == 1


def test_one_command_encodes_a_column_of_videos(films, tmp_path, capsys, monkeypatch):
    (tmp_path / "watching.py").write_text(
        "import torch\n\ndef faces(batch):\n    return torch.ones(len(batch), 3, 5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    clips = [{"id": f["id"], "label": f["label"], "video": f["image"], "split": f["split"]} for f in films]
    source, out = save(tmp_path / "clips.csv", clips), tmp_path / "clips.npz"
    command = [str(source), "--out", str(out), "--cache", str(tmp_path / "cache")]
    assert main(command) == 2
    assert "no encoder for vision; give one (--encoder vision=MODULE:NAME), or take" in capsys.readouterr().err
    assert main([*command, "--encoder", "vision=watching:faces"]) == 0
    assert read(out).features["vision"].shape == (6, 3, 5)


def test_an_encoder_that_fails_for_all_contents_ends_the_run_and_its_error_names_them(films, tmp_path):
    def broken(batch):
        raise TypeError("no such layer")

    with pytest.raises(TypeError, match="no such layer") as caught:
        encoded(films, tmp_path, both() | {"text": custom(broken, "broken", "1")})
    assert caught.value.__notes__ == ["rows: field 'text': encoder 'broken' has none of 'f4', 'f1'"]


def test_when_no_file_can_be_read_the_manifest_is_wrong(films, tmp_path):
    with pytest.raises(DataError, match=r"field 'image': none of the files is there, the first would be .*x/0\.png"):
        manifest([{**f, "image": f"x/{f['image']}"} for f in films], folder=tmp_path)

    def refuse(content):
        raise RuntimeError("no codec")

    counted = Counted()
    broken = Encoder("broken", "0", counted, refuse)
    with pytest.raises(
        DataError, match="field 'image': none of it can be read, the first because: RuntimeError: no codec"
    ):
        encoded(films, tmp_path, {"text": counted.encoder, "image": broken})


# Models


def test_clip_vectors_are_those_of_open_clip(films, tmp_path, tiny_clip):
    import open_clip

    modes = {"0.jpg": "L", "1.jpg": "CMYK", "2.jpg": "RGB", "3.png": "RGBA", "4.png": "1", "5.webp": "RGB"}
    for i, (name, mode) in enumerate(modes.items()):
        films[i]["image"] = picture(tmp_path / name, i, mode, (33 + 9 * i, 70)).name
    films[0]["text"] = "so many words that not all of them can be read by this model, whose context is short"
    net, _, transform = open_clip.create_model_and_transforms(tiny_clip)
    tokenizer = open_clip.get_tokenizer(tiny_clip)
    data = encoded(films, tmp_path, clip_encoders(tiny_clip))
    assert data.dims == {"text": 8, "image": 8} and all(x.shape[1] == 1 for x in data.features.values())
    with torch.inference_mode():
        for i, film in enumerate(films):
            if modes[film["image"]] != "1":  # which open_clip scales without averaging
                true = net.eval().encode_image(transform(Image.open(tmp_path / film["image"]))[None])
                torch.testing.assert_close(data.features["image"][i], true, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                data.features["text"][i], net.encode_text(tokenizer([film["text"]])), rtol=1e-4, atol=1e-5
            )


def test_pictures_of_any_kind_can_be_read(films, tmp_path, tiny_clip):
    Image.open(tmp_path / "0.png").convert("P").save(tmp_path / "0.gif", transparency=0)
    Image.open(tmp_path / "1.png").convert("P").save(tmp_path / "p.png", transparency=bytes(range(256)))
    Image.open(tmp_path / "2.png").convert("LA").save(tmp_path / "la.png")
    Image.open(tmp_path / "3.png").convert("I;16").save(tmp_path / "deep.png")
    Image.open(tmp_path / "4.png").save(tmp_path / "4.tiff")
    for i, name in enumerate(["0.gif", "p.png", "la.png", "deep.png", "4.tiff"]):
        films[i]["image"] = name
    data = encoded(films, tmp_path, clip_encoders(tiny_clip))
    assert data.present["image"].all() and data.provenance["derived"] == []


@pytest.fixture
def tiny_16(tiny_clip, monkeypatch) -> str:
    """A checkpoint of the models Tiny-16 and Tiny-16-quickgelu, the first of which has a tag that asks for QuickGELU."""
    from open_clip import factory, pretrained

    folder = Path(tiny_clip.removeprefix("local-dir:"))
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    file = str(folder / "open_clip_model.safetensors")
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Tiny-16", config)
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Tiny-16-quickgelu", {**config, "quick_gelu": True})
    monkeypatch.setitem(pretrained._PRETRAINED, "Tiny-16", {"openai": {"url": "x", "quick_gelu": True}})
    monkeypatch.setattr(factory, "download_pretrained", lambda *_, **__: file)
    return file


def test_a_checkpoint_and_a_tag_are_loaded_with_the_activation_the_tag_asks_for(films, tmp_path, tiny_16):
    import open_clip

    file = tiny_16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tagged = clip_encoders("Tiny/16", "openai")
    plain, quick = clip_encoders("Tiny-16", file), clip_encoders("Tiny-16-quickgelu", file)
    x = encoded(films, tmp_path, tagged).features
    assert all(torch.equal(x[m], encoded(films, tmp_path, quick).features[m]) for m in x)
    assert not any(torch.equal(x[m], encoded(films, tmp_path, plain).features[m]) for m in x)
    assert len({e.fingerprint for encoders in (tagged, plain) for e in encoders.values()}) == 4
    assert open_clip.get_pretrained_cfg("Tiny-16", "openai")  # the tag was really known
    (warning,) = {e.warning for e in plain.values()}
    assert "QuickGELU" in warning and "Tiny-16-quickgelu" in warning
    assert encoded(films, tmp_path, plain).provenance["warnings"] == [f"text: {warning}", f"image: {warning}"]
    assert not any(e.warning for encoders in (tagged, quick) for e in encoders.values())


@pytest.mark.parametrize("openai", [True, False])
def test_a_torchscript_archive_is_read_and_openais_own_is_known(films, tmp_path, tiny_16, openai):
    import open_clip

    net = open_clip.create_model("Tiny-16", tiny_16).eval()
    if openai:
        for name, size in {"input_resolution": 32, "context_length": 12, "vocab_size": 49408}.items():
            if hasattr(net, name):
                delattr(net, name)
            net.register_buffer(name, torch.tensor(size))
    archive = str(tmp_path / "Tiny-16.pt")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.trace(net, (torch.zeros(1, 3, 32, 32), torch.zeros(1, 12, dtype=torch.long))).save(archive)
    before = list(tmp_path.iterdir())
    known = {name: clip_encoders(name, tiny_16) for name in ("Tiny-16", "Tiny-16-quickgelu")}
    known = {name: encoded(films, tmp_path, encoders).features for name, encoders in known.items()}
    for name in known:
        encoders = clip_encoders(name, archive)
        x = encoded(films, tmp_path, encoders).features
        assert all(torch.equal(x[m], known["Tiny-16-quickgelu" if openai else name][m]) for m in x)
        assert bool(encoders["image"].warning) == (name == "Tiny-16" and not openai)
    assert set(tmp_path.iterdir()) - set(before) == {tmp_path / "cache"}
    Path(archive).write_bytes(Path(archive).read_bytes()[:-200])
    with pytest.raises(DataError, match="CLIP 'Tiny-16' with weights .*Tiny-16.pt' cannot be loaded"):
        clip_encoders("Tiny-16", archive)


def test_the_fingerprint_sees_weights_and_preprocessing(tiny_clip, tmp_path):
    from safetensors.torch import load_file, save_file

    def changed(name, config_change=None, weight=None):
        source, folder = Path(tiny_clip.removeprefix("local-dir:")), tmp_path / name
        folder.mkdir()
        config = json.loads((source / "open_clip_config.json").read_text())
        config["preprocess_cfg"] |= config_change or {}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        weights = load_file(source / "open_clip_model.safetensors")
        if weight:
            weights[weight] = weights[weight] + 1
        save_file(weights, folder / "open_clip_model.safetensors")
        return {m: e.fingerprint for m, e in clip_encoders(f"local-dir:{folder}").items()}

    same = changed("same")
    assert same == {m: e.fingerprint for m, e in clip_encoders(tiny_clip).items()} and same["text"] != same["image"]
    mean = changed("mean", {"mean": [0.5, 0.5, 0.5]})
    assert mean["image"] != same["image"] and mean["text"] == same["text"]
    picture_part = changed("visual", weight="visual.proj")
    assert picture_part["image"] != same["image"] and picture_part["text"] == same["text"]
    text_part = changed("text", weight="text_projection")
    assert text_part["image"] == same["image"] and text_part["text"] != same["text"]


def test_a_clip_without_weights_is_refused(tmp_path, tiny_clip):
    config = Path(tiny_clip.removeprefix("local-dir:")) / "open_clip_config.json"
    (tmp_path / config.name).write_bytes(config.read_bytes())
    for model, weights in ((f"local-dir:{tmp_path}", "openai"), ("ViT-B-99", "openai"), ("local-dir:none", "openai")):
        with pytest.raises(DataError, match=rf"CLIP '{model}' .*cannot be loaded .*; give a name and tag"):
            clip_encoders(model, weights)


def test_token_features_are_the_hidden_states_of_each_text_alone(films, tmp_path, tiny_bert):
    from transformers import AutoModel, AutoTokenizer

    net, tokenizer = AutoModel.from_pretrained(tiny_bert).eval(), AutoTokenizer.from_pretrained(tiny_bert)
    films[3]["text"] = ""
    data = encoded(films, tmp_path, both() | {"text": tokens(tiny_bert, 7)}, batch=3)
    lengths = []
    for i, film in enumerate(films):
        said = tokenizer(film["text"], return_tensors="pt", truncation=True, max_length=7) if film["text"] else None
        lengths.append(said["input_ids"].shape[1] if said else 0)
        if said:
            true = net(**said).last_hidden_state[0].detach()
            torch.testing.assert_close(data.features["text"][i, : lengths[-1]], true, rtol=1e-4, atol=1e-5)
    assert lengths == [4, 7, 4, 0, 7, 4]
    assert data.features["text"].shape == (6, 7, 8) and data.observed["text"].sum(1).tolist() == lengths
    assert torch.equal(data.observed["text"], torch.arange(7) < torch.tensor(lengths)[:, None])


def test_the_number_of_tokens_is_part_of_the_fingerprint_and_limited(tiny_bert):
    assert tokens(tiny_bert, 7).fingerprint == tokens(tiny_bert, 7).fingerprint != tokens(tiny_bert, 8).fingerprint
    for wrong in (0, 13):
        with pytest.raises(DataError, match=rf"max_tokens is {wrong}; text model .* reads 1 to 12"):
            tokens(tiny_bert, wrong)
    with pytest.raises(DataError, match="text model 'nowhere' is neither a folder"):
        tokens("nowhere")


class Loudness(nn.Module):
    """Blocks of two bytes as frames, scaled by a weight."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([scale], dtype=torch.bfloat16))

    def forward(self, batch):
        return [torch.tensor(list(c), dtype=torch.float32).view(-1, 2) * self.scale for c in batch]


def test_audio_needs_an_encoder_and_takes_any_module(films, tmp_path):
    for i, film in enumerate(films):
        film["audio"] = f"{i}.raw"
        (tmp_path / film["audio"]).write_bytes(bytes(range(2 * i + 2)))
    some = both()
    with pytest.raises(
        DataError, match=r"field 'audio': there is no encoder for audio; give one \(--encoder audio=MODULE:NAME\)"
    ):
        encoded(films, tmp_path, some)
    assert not (tmp_path / "cache").exists()
    data = encoded(films, tmp_path, some | {"audio": custom(Loudness(2.0), "loudness")})
    assert data.features["audio"].shape == (6, 6, 2) and data.observed["audio"].sum(1).tolist() == [1, 2, 3, 4, 5, 6]
    assert data.features["audio"][1].tolist() == [[0, 2], [4, 6], *[[0, 0]] * 4]
    marks = {custom(Loudness(2.0), "loudness").fingerprint, custom(Loudness(3.0), "loudness").fingerprint}
    assert (
        len(marks | {custom(Loudness(2.0), "other").fingerprint, custom(Loudness(2.0), "loudness", "b").fingerprint})
        == 4
    )
    with pytest.raises(DataError, match="encoder 'f': nothing tells its features .*; give it a mark"):
        custom(lambda batch: batch, "f")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda n: torch.zeros(n + 1, 2), r"made 3 features of 2 contents \(\(1, 2\), .*expected \(frames, width\)"),
        (lambda n: torch.zeros(n, 2, 2, 2), r"made .* \(\(2, 2, 2\), .*expected"),
        (lambda n: [torch.zeros(2, 2, 2)] * n, r"made .* \(\(2, 2, 2\), .*expected"),
    ],
)
def test_features_that_are_none_are_refused_at_once(films, tmp_path, made, message):
    with pytest.raises(DataError, match=rf"rows: field 'text': encoder 'odd' {message}"):
        encoded(films, tmp_path, both() | {"text": custom(lambda batch: made(len(batch)), "odd", "1")})
    assert not list((tmp_path / "cache").rglob("*.npz"))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda n: torch.zeros(n, 0, 2), "its features have no frame"),
        (lambda n: torch.zeros(n, 2, 0), "its features have no frame"),
        (lambda n: torch.full((n, 2), torch.nan), "its features hold NaN or infinity"),
    ],
)
def test_an_encoder_without_features_for_any_content_is_refused(films, tmp_path, made, reason):
    with pytest.raises(DataError, match=f"field 'text': none of it can be read, the first because: {reason}; correct"):
        encoded(films, tmp_path, both() | {"text": custom(lambda batch: made(len(batch)), "odd", "1")})
    assert not list((tmp_path / "cache").rglob("*.npz"))


def test_features_of_changing_width_are_refused(films, tmp_path):
    odd = custom(lambda batch: torch.ones(len(batch), len(batch[0])), "odd", "1")
    with pytest.raises(DataError, match=r"npz: features are \d+ wide, others of this encoder \d+; delete it"):
        encoded(films, tmp_path, both() | {"text": odd})


def test_half_precision_is_kept_in_the_archive(films, tmp_path):
    data = encoded(films, tmp_path, both(), half=True)
    assert all(x.dtype == torch.float16 for x in data.features.values())


@pytest.mark.gpu
def test_a_gpu_gives_the_same_features(films, tmp_path, tiny_clip, tiny_bert):
    for made in (
        clip_encoders,
        lambda model, device: clip_encoders(tiny_clip, device=device) | {"text": tokens(tiny_bert, 7, device=device)},
    ):
        cpu = encoded(films, tmp_path, made(tiny_clip, device="cpu"))
        gpu = encoded(films, tmp_path, made(tiny_clip, device="cuda"), cache=tmp_path / "gpu")
        torch.testing.assert_close(cpu.features, gpu.features, rtol=1e-2, atol=1e-3)


# The command line


def test_one_command_from_a_manifest_to_an_archive(films, tmp_path, tiny_clip, tiny_bert, capsys, monkeypatch):
    films[2]["image"], films[0]["image"] = "gone.png", "notes.txt"
    (tmp_path / "notes.txt").write_text("no picture")
    for film in films:
        film["audio"] = "sound.raw"
    (tmp_path / "sound.raw").write_bytes(b"abcd")
    (tmp_path / "listening.py").write_text("import torch\n\ndef loud(batch):\n    return torch.ones(len(batch), 3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    source, out = save(tmp_path / "films.csv", [{**f, "year": 1999} for f in films]), tmp_path / "films.npz"
    command = [str(source), "--clip", tiny_clip, "--text-model", tiny_bert, "--max-tokens", "9"]
    command += [
        "--encoder",
        "audio=listening:loud",
        "--cache",
        str(tmp_path / "cache"),
        "--batch",
        "4",
        "--device",
        "cpu",
    ]
    assert main([*command, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "films.npz: multiclass, 3 train, 1 valid, 2 test" in printed
    assert "text: 6 of 6 rows, (T, d) = (9, 8)" in printed and "image: 4 of 6 rows, (T, d) = (1, 8)" in printed
    assert "image 'gone.png' of 'f2' counts as missing: is not there" in printed
    data = read(out)
    assert data.name == "films" and data.dims == {"text": 8, "image": 8, "audio": 3}
    assert data.provenance["features"]["text"] == (
        f"hidden states of {tiny_bert}, 9 tokens at most; fingerprint {tokens(tiny_bert, 9).fingerprint}"
    )
    assert f"fingerprint {clip_encoders(tiny_clip)['image'].fingerprint}" in data.provenance["features"]["image"]
    assert data.provenance["features"]["audio"].startswith("listening:loud; fingerprint ")
    assert {s["repository"] for s in data.provenance["sources"]} == {
        "PyPI open_clip_torch",
        "PyPI transformers",
        "PyPI torch",
    }
    assert data.provenance["warnings"] == [
        "columns not read: year",
        "image: 2 of 6 could not be read and count as missing",
    ]
    assert any("'notes.txt' of 'f0' counts as missing: UnidentifiedImageError" in d for d in data.provenance["derived"])
    assert data.provenance["split_source"] == "the manifest's"
    assert main([*command, "--out", str(tmp_path / "again.npz")]) == 0
    assert read(tmp_path / "again.npz").fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "films.csv"], "films.csv: exists already; remove it"),
        (["--encoder", "audio=nowhere:f"], "--encoder 'audio=nowhere:f': No module named 'nowhere'; name a module"),
        (["--encoder", "audio=json:f"], "--encoder 'audio=json:f': module 'json' has no attribute 'f'; name"),
        (["--encoder", "smell=json:f"], "--encoder 'smell=json:f' is not MODALITY=MODULE:NAME"),
        (["--task", "regression"], "field 'label', row 0 (id 'f0'): 'a' is not a number"),
        (["--clip", "local-dir:none"], "CLIP 'local-dir:none'"),
    ],
)
def test_the_command_line_says_what_is_wrong(films, tmp_path, capsys, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "films.csv", films)
    assert main(["films.csv", "--out", "films.npz", *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "films.npz").exists()


def test_one_command_from_raw_mmimdb_to_an_archive(tmp_path, tiny_clip):
    pytest.importorskip("mmlib.releases.mmimdb")
    folder = tmp_path / "mmimdb"
    (folder / "dataset").mkdir(parents=True)
    names = [f"{i:07}" for i in range(6)]
    for i, name in enumerate(names):
        film = {"plot": [WORDS[i]], "genres": ["Drama", "Comedy"] if i % 2 else ["Drama"], "title": name}
        (folder / "dataset" / f"{name}.json").write_text(json.dumps(film))
        picture(folder / "dataset" / f"{name}.jpeg", i)
    (folder / "dataset" / f"{names[2]}.jpeg").write_bytes(b"cut")
    (folder / "dataset" / f"{names[4]}.jpeg").unlink()
    (folder / "split.json").write_text(json.dumps({"train": names[:3], "dev": names[3:4], "test": names[4:]}))
    out = tmp_path / "out.npz"
    command = [str(folder), "--out", str(out), "--clip", tiny_clip, "--cache", str(tmp_path / "cache")]
    assert main(command) == 0
    data = read(out)
    assert data.task == "multilabel" and {"Comedy", "Drama"} <= set(data.label_names) and len(data) == 6
    drama, comedy = (data.target[:, data.label_names.index(g)].tolist() for g in ("Drama", "Comedy"))
    assert drama == [1] * 6 and sorted(comedy) == [0, 0, 0, 1, 1, 1]
    assert sorted(data.split) == sorted(SPLITS) and data.present["text"].all() and data.present["image"].sum() == 4
    assert data.provenance["warnings"] == [
        "1 films have no image",
        "image: 1 of 5 could not be read and count as missing",
    ]


def test_the_readme_makes_text_features_of_mintrec(tmp_path, tiny_bert, monkeypatch):
    readme = (Path(__file__).parents[2] / "data" / "README.md").read_text()
    (code,) = re.findall(r"```py\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "data").mkdir()
    mintrec.write(tmp_path / "data" / "mintrec")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("bert-base-uncased", tiny_bert).replace("max_tokens=30", "max_tokens=12"), {})
    data = read(tmp_path / "data" / "mintrec_bert.npz")
    assert data.dims == {"text": 8, "audio": 768, "vision": 256} and data.contextual == ("text", "audio")
    assert data.ids.tolist() == mintrec.IDS and data.observed["text"].sum(1).min() >= 2
