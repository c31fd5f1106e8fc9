"""What a user meets first: import mmlib, and the commands."""

import subprocess
import sys
from pathlib import Path

import pytest

import mmlib


def test_every_name_is_there_and_only_these_are_listed():
    assert {"Dataset", "fit", "MODELS", "MissingModalityClassifier", "load_model", "releases"} <= set(dir(mmlib))
    assert all(getattr(mmlib, name) is not None for name in dir(mmlib))
    assert mmlib.Dataset is mmlib.data.Dataset and mmlib.load_model is mmlib.models.load
    with pytest.raises(AttributeError, match="mmlib has no 'Datset'; it has .*Dataset"):
        _ = mmlib.Datset
    assert (Path(mmlib.__file__).parent / "py.typed").exists()


def test_importing_it_loads_nothing_heavy():
    code = "import sys, mmlib; dir(mmlib); print(sorted({'torch', 'sklearn', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, text",
    [
        ([], "python -m mmlib.encode"),
        ([".releases"], "mult_mosi"),
        ([".models"], "vectors only"),
        ([".runs", "--help"], "study"),
    ],
)
def test_commands(command, text):
    module, *rest = command or [""]
    out = subprocess.run([sys.executable, "-m", f"mmlib{module}", *rest], capture_output=True, text=True)
    assert out.returncode == 0 and text in out.stdout and not out.stderr
