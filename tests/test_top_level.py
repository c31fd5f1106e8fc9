"""What a user meets first: import mmlib, and the commands."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mmlib
from mmlib.__main__ import main
from mmlib.runs.study import plan

ROOT = Path(mmlib.__file__).parents[1]


def test_every_name_is_there_and_only_these_are_listed():
    assert {"Dataset", "fit", "MODELS", "MissingModalityClassifier", "load_model", "releases"} <= set(dir(mmlib))
    assert all(getattr(mmlib, name) is not None for name in dir(mmlib))
    assert mmlib.Dataset is mmlib.data.Dataset and mmlib.load_model is mmlib.models.load
    with pytest.raises(AttributeError, match="mmlib has no 'Datset'; it has .*Dataset"):
        _ = mmlib.Datset
    assert (Path(mmlib.__file__).parent / "py.typed").exists()


def test_type_checkers_and_versions_see_the_names_that_are_imported_late():
    tree = ast.parse(Path(mmlib.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {a.asname or a.name: node.module.split(".")[1] for node in block.body for a in node.names}
    assert seen == mmlib._NAMES


def test_importing_it_loads_nothing_heavy():
    code = "import sys, mmlib; dir(mmlib); print(sorted({'torch', 'sklearn', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_copy_brings_notebooks_and_studies_and_overwrites_nothing(tmp_path, capsys):
    assert main(["copy", str(tmp_path / "work")]) == 0
    names = {str(path.relative_to(tmp_path / "work")) for path in (tmp_path / "work").rglob("*") if path.is_file()}
    assert {"start.ipynb", "simc.ipynb", "studies/smoke.yaml"} <= names
    (tmp_path / "work" / "start.ipynb").write_text("mine")
    assert main(["copy", str(tmp_path / "work")]) == 2 and "nothing is overwritten" in capsys.readouterr().err
    assert (tmp_path / "work" / "start.ipynb").read_text() == "mine"


@pytest.mark.slow
def test_the_wheel_brings_notebooks_studies_and_numbers(tmp_path):
    """Built from the files of the checkout, installed without it: papers' tables and our rows are found."""
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in filter(None, tracked):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True)
    shutil.rmtree(source)
    code = """
import mmlib
from mmlib import files
from mmlib.report.rows import reported, results
assert not files.is_checkout() and str(files.home()).startswith(SITE), files.home()
assert len(reported("umdf")) and len(results("umdf"))
from mmlib.runs.study import plan
from pathlib import Path
print(len(plan(files.home() / "notebooks/studies/demo.yaml", Path("out"))))
""".replace("SITE", repr(str(tmp_path / "site")))
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    here = len(plan(ROOT / "notebooks/studies/demo.yaml", tmp_path / "out"))
    assert out.returncode == 0 and out.stdout.strip() == str(here), out.stderr


def test_a_room_without_its_packages_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    for module in [m for m in sys.modules if m.startswith("mmlib.runs")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(mmlib.__dict__, "runs", raising=False)  # hasattr would import it
    with pytest.raises(ImportError, match=r"mmlib.runs needs yaml: pip install 'mmlib\[runs\]'"):
        _ = mmlib.runs


def test_the_core_needs_no_extra():
    """Data, models, training and estimators are imported without Jupyter, Dask, seaborn, open_clip and transformers."""
    extras = (
        "IPython",
        "jupyterlab",
        "seaborn",
        "matplotlib",
        "yaml",
        "papermill",
        "distributed",
        "open_clip",
        "transformers",
    )
    rooms = ("data", "estimators", "metrics", "missing", "models", "releases", "synthetic", "training")
    code = f"import sys\nfor m in {extras}: sys.modules[m] = None\nimport mmlib\nfor m in {rooms}: getattr(mmlib, m)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr


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
