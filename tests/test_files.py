"""A file is written whole or not at all; two names for one content have one SHA-256."""

import hashlib
import os
import signal
import subprocess
import sys

import pytest

from mmlib.files import replacing, sha256, write

KILLED = """
import os, signal, sys
from pathlib import Path
from mmlib.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write(path, "old")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new" and names(path.parent) == ["b.txt"]


def test_a_process_killed_before_the_rename_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write(path, "old")
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode == -signal.SIGKILL
    (other,) = set(names(tmp_path)) - {"a.txt"}
    assert path.read_text() == "old" and other.startswith(".a.txt.") and other.endswith(".tmp")
    write(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("where", ["block", "fsync", "nothing written"])
def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch, where, exclusive):
    path = tmp_path / "a.txt"
    if not exclusive:
        write(path, "old")

    def interrupted(_):
        raise KeyboardInterrupt

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(FileNotFoundError if where == "nothing written" else KeyboardInterrupt):
        with replacing(path, exclusive) as temporary:
            if where != "nothing written":
                temporary.write_text("new")
            if where == "block":
                interrupted(0)
    assert names(tmp_path) == ([] if exclusive else ["a.txt"])
    assert exclusive or path.read_text() == "old"


@pytest.mark.parametrize("links", [True, False])
def test_an_exclusive_file_is_written_once(tmp_path, monkeypatch, links):
    def refused(*_):
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "a.txt"
    write(path, "first", exclusive=True)
    with pytest.raises(FileExistsError):
        write(path, "second", exclusive=True)
    assert path.read_text() == "first" and names(tmp_path) == ["a.txt"]


def test_the_content_is_on_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    path, states, fsync = tmp_path / "a.txt", [], os.fsync

    def noted(descriptor):
        states.append((path.exists(), os.fstat(descriptor).st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write(path, "text")
    assert states == [(False, 4)]


def test_sha256_of_a_file(tmp_path):
    write(tmp_path / "a.txt", "text")
    assert sha256(tmp_path / "a.txt") == hashlib.sha256(b"text").hexdigest()
