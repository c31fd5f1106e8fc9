"""What the table of the benchmark says of each system."""

import pandas as pd
import pytest

from mmlib import files, report
from mmlib.models import MODELS
from tests.bench import table as bench_table

TRAINED = [name for name, kind in MODELS.items() if kind.stages]


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """A file of two suites, written by `Table`."""
    monkeypatch.setattr(bench_table, "FILE", tmp_path / "data" / "results" / "speed.csv")
    monkeypatch.setattr(files, "home", lambda: tmp_path)
    table = bench_table.Table()
    table.suite = "systems"
    for system, step in (("umdf", 12.5), ("mult", 5.0)):
        for measure, value, unit in (("parameters", 1000, ""), ("a step", step, "ms"), ("peak memory", 3.25, "MiB")):
            table.add(system, "32 clips", measure, value, unit)
    table.save()
    table = bench_table.Table()
    table.suite = "scaling"
    table.add("umdf", "B = 1, 2", "slope in B", 0.5, "")
    table.add("umdf", "N = 1, 2", "slope in N", 1.0, "", wanted="1")
    table.add("mult", "B = 1, 2", "slope in B", 0.75, "", against="MulT", ratio=1.5)
    table.save()
    return bench_table.FILE


def test_each_system_has_its_line(lines):
    found = report.cost("mult", "umdf")
    assert found.columns.tolist() == ["batch", "parameters", "a step, ms", "memory of a step, MiB"]
    assert found.loc["UMDF"].tolist() == ["32 clips", 1000, 12.5, 3.25] and found.index.tolist() == ["MulT", "UMDF"]
    with pytest.raises(KeyError, match="simc"):
        report.cost("simc")
    grown = report.slopes("umdf", "mult")
    assert grown["batch"].tolist() == [0.5, 0.75] and grown["rows of an epoch"].isna().tolist() == [False, True]
    assert report.ratios("scaling")[["subject", "against", "ratio"]].values.tolist() == [["MulT", "MulT", 1.5]]
    assert report.machine("systems").startswith("`python -m tests.bench systems`, ")


def test_a_suite_replaces_its_own_lines_alone(lines):
    table = bench_table.Table()
    table.suite = "systems"
    table.add("umdf", "32 clips", "a step", 11.0, "ms")
    table.save()
    kept = pd.read_csv(lines)
    assert kept["suite"].value_counts().to_dict() == {"scaling": 3, "systems": 1}
    assert kept.loc[kept["suite"] == "systems", "value"].tolist() == [11.0]


def test_every_trained_system_was_measured():
    found = report.cost(*TRAINED)
    assert found.notna().all(axis=None) and (found["a step, ms"] > 0).all()
    assert report.shares("umdf", "fill").sum(1).round().tolist() == [100, 100]
