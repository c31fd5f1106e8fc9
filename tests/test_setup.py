"""The installation is described once: pyproject.toml, which the Makefile and the conda environment only point to."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = ("torch", "jupyterlab", "papermill", "transformers", "open_clip_torch", "seaborn", "scikit-learn")


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement).group()


def closure(extra):
    """The packages of an extra and of the extras that it names, with the core's."""
    names, todo = {name_of(r) for r in PYPROJECT["dependencies"]}, [extra]
    while todo:
        for requirement in PYPROJECT["optional-dependencies"][todo.pop()]:
            own = re.fullmatch(r"mmlib\[(.*)\]", requirement)
            todo += own[1].split(",") if own else []
            names |= set() if own else {name_of(requirement)}
    return names


def test_every_package_has_a_range_and_the_version_of_our_numbers():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    requirements = [*PYPROJECT["dependencies"], *sum(PYPROJECT["optional-dependencies"].values(), [])]
    for requirement in (r for r in requirements if not r.startswith("mmlib[")):
        name, least = requirement.split(">=")
        if name == "pillow":  # torchvision brings it
            continue
        numbers = [[int(part) for part in version.split(".")[:2]] for version in (pins[name], least)]
        assert numbers[0] >= (numbers[1] + [0])[:2], f"{name}: {pins[name]} is below {least}"
    assert pins["torch"] == "2.13.0"


def test_make_installs_the_whole_stack():
    assert {*REQUIRED, "nbval"} <= closure("all")
    assert "--editable '.[all]' --constraint constraints.txt" in (ROOT / "Makefile").read_text()


def test_the_core_is_small():
    core = {name_of(r) for r in PYPROJECT["dependencies"]}
    assert not core & {"jupyterlab", "papermill", "distributed", "open_clip_torch", "transformers", "seaborn"}


def test_conda_environment_holds_python_pip_and_this_project_alone():
    python, pip, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == "pip"
    assert f">={python.removeprefix('python=')}" == PYPROJECT["requires-python"]
    assert packages["pip"] == ["-c constraints.txt", "-e .[all]"], "as make installs it"


def test_ci_runs_the_readme_s_own_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


def test_no_test_file_is_imported_by_another_file():
    """What several tests share is in tests/helpers."""
    imports = re.compile(r"^ *(?:from|import) .*\btest_\w+", re.M)
    lines = {str(path.relative_to(ROOT)): imports.findall(path.read_text()) for path in (ROOT / "tests").rglob("*.py")}
    assert not {path: import_ for path, import_ in lines.items() if import_}
