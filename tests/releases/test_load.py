"""Each release lies at a path, and `load` says which one it is; a stranger's file is refused unopened."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from mmlib import synthetic
from mmlib.data.archive import write
from mmlib.names import DataError
from mmlib.releases.fetch import RELEASES
from mmlib.releases.load import load
from tests.helpers import mmin, releases


def pickled(content, path, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("MMSA", lambda: releases.mmsa()),
        ("MMSA", lambda: releases.mmsa("MOSEI", aligned=True)),
        ("MulT", lambda: releases.mult()),
        ("MulT", lambda: releases.mult("IEMOCAP")),
        ("MultiBench", lambda: releases.multibench()),
    ],
)
def test_pickles_are_told_apart_and_read(name, content, protocol, tmp_path, capsys):
    path = pickled(content(), tmp_path / "mosi_data.pkl", protocol)
    data = load(path)
    assert data.provenance["release"] == name and len(data.provenance["sha256"]) == 64
    assert data.provenance["published"] is (False if name == "MMSA" else None)
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: {name}") and f"{len(data)} rows, " in said
    assert ("not a file as published" in said) == (name == "MMSA")


def test_a_published_file_is_known_by_its_hash(tmp_path, monkeypatch, capsys):
    path = pickled(releases.mmsa(), tmp_path / "aligned_50.pkl")
    assert load(path).provenance["published"] is False
    digest = load(path).provenance["sha256"]
    monkeypatch.setitem(RELEASES, "mmsa_mosi_aligned", RELEASES["mmsa_mosi_aligned"]._replace(sha256=digest))
    assert load(path).provenance["published"] is True


def test_a_file_with_other_widths_is_announced_as_not_published(tmp_path, capsys):
    content = releases.mult()
    for fields in content.values():
        fields["vision"] = fields["vision"][..., :19]
    data = load(pickled(content, tmp_path / "mosi_19.pkl"))
    assert data.provenance["published"] is False and "MulT, not a file as published" in capsys.readouterr().out


def test_options_reach_the_reader(tmp_path):
    path = pickled(releases.mmsa(), tmp_path / "unaligned_50.pkl")
    assert load(path, text="ids").dims["text"] == 1
    assert load(path, text={"train-v_0$_$0": np.ones((3, 2))}).observed["text"].sum() == 3


def test_an_option_that_the_reader_lacks_is_named(tmp_path):
    films = synthetic.like("mmimdb", dim=4).sample({"train": 5, "valid": 2, "test": 2})
    for path, has in (
        (write(films, tmp_path / "films.npz"), "memory, cache"),
        (pickled(releases.mmsa(), tmp_path / "aligned_50.pkl"), "text"),
        (pickled(releases.mult(), tmp_path / "mosi_data.pkl"), "none"),
    ):
        with pytest.raises(DataError, match=rf"{path.name}: its reader has no option 'fold'; it has {has}$"):
            load(path, fold=2)


def test_folders_and_archives(tmp_path):
    mmin.write(tmp_path / "mmin")
    assert load(tmp_path / "mmin", fold=2).provenance["release"] == "MMIN"
    films = synthetic.like("mmimdb", dim=4).sample({"train": 5, "valid": 2, "test": 2})
    assert load(write(films, tmp_path / "films.npz")).provenance["release"] == "feature archive"


class Hostile:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def test_what_is_none_of_them(tmp_path):
    with pytest.raises(DataError, match="there is nothing; python -m mmlib.releases.fetch says where"):
        load(tmp_path / "nowhere.pkl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is a folder of none of the releases MMIN, MIntRec, MM-IMDb"):
        load(tmp_path / "empty")
    with pytest.raises(DataError, match="is a pickle with keys 'a', 'b', which is none of the releases"):
        load(pickled({"a": 1, "b": [2]}, tmp_path / "other.pkl"))
    with pytest.raises(DataError, match="is a pickle with list"):
        load(pickled([1], tmp_path / "list.pkl"))
    with pytest.raises(DataError, match="posix.system|os.system"):
        load(pickled({"train": Hostile(tmp_path / "canary")}, tmp_path / "hostile.pkl"))
    assert not (tmp_path / "canary").exists()


def test_the_readme_reads_the_papers_files_where_fetch_puts_them():
    readme = (Path(__file__).parents[2] / "data" / "README.md").read_text()
    rows = re.findall(r"\| `(\w+)` \| `load\(\"data/([^\"]+)\"", readme)
    assert len(rows) == 8
    for name, path in rows:
        assert RELEASES[name].file == path or path.endswith(".npz"), name


def test_a_table_of_files_belongs_to_encode(tmp_path):
    (tmp_path / "films.csv").write_text("id,label,text\na,b,c\n")
    with pytest.raises(
        DataError, match="films.csv: is a table; python -m mmlib.encode .*films.csv --out FILE.npz makes"
    ):
        load(tmp_path / "films.csv")
