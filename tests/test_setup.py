"""The installation is described once: pyproject.toml, which the Makefile and the conda environment only point to."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = ("torch", "jupyterlab", "papermill", "transformers", "open_clip_torch", "seaborn", "scikit-learn")


def test_every_dependency_is_pinned():
    for requirement in [*PYPROJECT["dependencies"], *sum(PYPROJECT["optional-dependencies"].values(), [])]:
        name, equals, version = requirement.partition("==")
        assert equals and version and not set(version) & set("*<>~!,"), requirement
    assert "torch==2.13.0" in PYPROJECT["dependencies"]


def test_the_whole_stack_is_installed_by_default():
    names = {r.partition("==")[0] for r in PYPROJECT["dependencies"]}
    assert set(REQUIRED) <= names
    assert "nbval" in {r.partition("==")[0] for r in PYPROJECT["optional-dependencies"]["test"]}


def test_conda_environment_holds_python_pip_and_this_project_alone():
    python, pip, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == "pip"
    assert f">={python.removeprefix('python=')}" == PYPROJECT["requires-python"]
    (project,) = packages["pip"]
    assert project.startswith("-e .[") and project.endswith("]")
    extras = project.removeprefix("-e .[").removesuffix("]").split(",")
    assert set(extras) <= set(PYPROJECT["optional-dependencies"])
    assert f".[{','.join(extras)}]" in (ROOT / "Makefile").read_text(), "make installs the same extras"


def test_ci_runs_the_readme_s_own_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


def test_no_test_file_is_imported_by_another_file():
    """What several tests share is in tests/helpers."""
    imports = re.compile(r"^ *(?:from|import) .*\btest_\w+", re.M)
    lines = {str(path.relative_to(ROOT)): imports.findall(path.read_text()) for path in (ROOT / "tests").rglob("*.py")}
    assert not {path: import_ for path, import_ in lines.items() if import_}
