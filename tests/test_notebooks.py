"""Conventions that hold for every stored notebook. nbval runs the notebooks and compares their outputs."""

import ast
import re
from fnmatch import fnmatchcase
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from mmlib import runs, show
from mmlib.models.catalogue import MODELS
from mmlib.report import figures, published
from mmlib.runs.parameters import assignments, choices

NOTEBOOKS = sorted((runs.ROOT / "notebooks").glob("*.ipynb"))
TRAINING = [p for p in NOTEBOOKS if p.stem != "results"]  # results.ipynb only reads the records of the others' runs
STUDIES = sorted((runs.ROOT / "notebooks" / "studies").glob("*.yaml"))


def code(path: Path) -> list:
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_conventions(path):
    nb = nbformat.read(path, 4)
    assert nb.metadata["kernelspec"]["name"] == "python3"
    assert set(nb.metadata) == {"kernelspec"}, "volatile metadata are stripped: make notebooks"
    positions = [n for n, c in enumerate(nb.cells) if "parameters" in c.metadata.get("tags", [])]
    assert len(positions) == 1
    source, following = nb.cells[positions[0]].source, nb.cells[positions[0] + 1].source
    parameters = assignments(source)
    if path in TRAINING:
        assert parameters["device"] == ("str", "auto") and parameters["seed"] == ("int", 0)
        assert parameters["out_dir"] == ("str", "") and code(path)[-1].source == "record.write()"
        assert re.match(r'record = runs\.Record\("[\w ]+", globals\(\)\)', following), "it refuses misspelt parameters"
    else:
        assert "runs.parameters_of(globals())" in following, "it refuses misspelt parameters"
    assert all("#" in line for line in source.splitlines()), "every parameter says what it means"
    tags = {"parameters", "nbval-check-output", "nbval-ignore-output"}  # nbval passes over a misspelt tag
    for cell in code(path):
        assert set(cell.metadata.get("tags", [])) <= tags
        lines = cell.source.splitlines()
        assert len(lines) <= 25 or "parameters" in cell.metadata.get("tags", []), "a parameter is a line"
        assert not any(line.startswith("class ") for line in lines)
        assert not any(word in cell.source for word in ("!pip", "sys.path", "os.chdir"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_stored_and_whole(path):
    for n, cell in enumerate(code(path), 1):
        assert cell.execution_count == n, "nbval compares nothing in a cell without a count: make notebooks"
        assert all(o.output_type != "error" and o.get("name") != "stderr" for o in cell.outputs), cell.source
        if "show.source" in cell.source:
            assert cell.outputs and "nbval-check-output" in cell.metadata["tags"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_studies_name_parameters_that_exist(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MMLIB_DATA", str(tmp_path))
    for archive in re.findall(r"\$MMLIB_DATA/(\S+)", path.read_text()):
        (tmp_path / archive).touch()
    planned = runs.plan(path, tmp_path / "out")
    assert planned and len({run.folder for run in planned}) == len(planned), "one folder per run"


@pytest.mark.parametrize(
    "name, parameter, tables",
    [
        ("simc", "variants", ["SIMC_VARIANTS"]),
        ("umdf", "variants", ["CHANGES"]),
        ("smcir", "variants", ["CHANGES"]),
        ("admc", "variants", ["CHANGES"]),
        ("compare", "methods", ["OF_PAPERS", "FOR_DROPOUT", "CHANGES"]),
        ("compared", "methods", ["COMPLETE", "FORMS", "SYSTEMS"]),
    ],
)
def test_the_choices_of_a_parameter_are_the_systems_that_its_notebook_can_make(name, parameter, tables):
    path = runs.ROOT / "notebooks" / f"{name}.ipynb"
    values = {"others": ["audio"], "d": 1, "layers": 1, "length": 1, "sampler_steps": 1}
    values |= dict.fromkeys(("DIFFUSION", "WIDTH", "MULT", "sizes_of_mult"), {})
    for cell in code(path):
        for node in ast.walk(ast.parse(cell.source)):
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if isinstance(node, (ast.Assign, ast.AugAssign)) and ast.unparse(target) in tables:
                exec(ast.unparse(node), values)
    systems = {key for table in tables if table not in ("FORMS", "FOR_DROPOUT") for key in values[table]} - {""}
    (source,) = (cell.source for cell in code(path) if "parameters" in cell.metadata.get("tags", []))
    allowed = choices(source)[parameter]
    assert all(any(fnmatchcase(key, choice) for choice in allowed) for key in systems)
    assert all(any(fnmatchcase(key, choice) for key in systems) for choice in allowed)


def test_every_published_table_and_figure_has_its_studies():
    index = (runs.ROOT / "notebooks/studies/README.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in index.splitlines() if ".csv" in line]
    entries = set()
    for shows, studies, _ in rows:
        assert set(studies.split(", ")) <= {p.stem for p in STUDIES}, shows
        paper, _, parts = shows.partition(" ")
        for kind, numbers in re.findall(r"(Table|Figure)s? ([\d, ]+\d|\d)", parts):
            entries |= {(paper.replace("-", "").lower(), kind, n) for n in numbers.split(", ")}
    tables = {(paper, "Table", number) for paper, number in published.TABLES}
    plots = {
        (f.__name__.split("_fig")[0], "Figure", f.__name__[-1]) for f in (*figures.FROM_ROWS, *figures.FROM_POINTS)
    }
    assert entries == tables | plots


def test_every_notebook_is_in_the_demo():
    names = {entry["notebook"] for entry in yaml.safe_load((runs.ROOT / "notebooks/studies/demo.yaml").read_text())}
    assert names == {p.name for p in TRAINING}


def test_the_comparison_trains_every_system():
    source = "".join(c.source for c in code(runs.ROOT / "notebooks/compare.ipynb"))
    trivial = {"prior", "coin", "all_zeros", "unimodal", "fill"}  # models.yardsticks.trivial
    assert all(f'("{name}", ' in source for name in set(MODELS) - trivial), "one line in OF_PAPERS of compare.ipynb"


def test_compared_needs_no_system_that_has_a_control():
    """The table of gains is then empty; it must not stop a run whose systems are all trained."""
    (cell,) = [
        c.source for c in code(runs.ROOT / "notebooks" / "compared.ipynb") if "gain over its control" in c.source
    ]
    table = pd.DataFrame(0.5, index=["zero fill", "CubeMLP"], columns=["available(text)", "complete"])
    names = {"table": table, "main": "mae", "new": {"CubeMLP"}, "conditions": [*table.columns]}
    exec(cell, {"pd": pd, "show": show, "PEER_CONTROLS": published.PEER_CONTROLS, **names})
