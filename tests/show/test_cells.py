import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from nbconvert.filters import markdown2html

import mmlib
from mmlib import show
from mmlib.data.dataset import Batch
from mmlib.models.base import System, task_loss

PROBE = """
class Probe:
    def loss(self, x):
        # the first term
        return {"task": x}
"""


def fenced(markdown):
    before, _, place, _, fence, *code, end, _, after = markdown.data.split("\n")
    assert (before, fence, end, after) == ('<div style="font-family: monospace">', "```python", "```", "</div>")
    return place, "\n".join(code)


@pytest.mark.parametrize(
    "obj, place",
    [
        (task_loss, "*`mmlib/models/base.py · task_loss`*"),
        (System, "*`mmlib/models/base.py · System`*"),
        (System.for_data, "*`mmlib/models/base.py · System.for_data`*"),
        (Batch.without, "*`mmlib/data/dataset.py · Batch.without`*"),
    ],
)
def test_source_is_the_text_of_the_file_and_says_where(obj, place):
    found, code = fenced(show.source(obj))
    assert found == place
    lines = code.split("\n")
    indent = "" if obj in (task_loss, System) else "    "
    as_filed = "\n".join(indent + line if line else line for line in lines)
    file = Path(mmlib.__file__).parents[1] / found.strip("*`").split(" · ")[0]
    assert as_filed + "\n" in file.read_text(encoding="utf-8")
    assert not code[0].isspace() and code == code.rstrip()


def test_source_is_code_inside_its_own_font_in_html():
    html = markdown2html(show.source(Batch.without).data)
    code = r'<div style="font-family: monospace">\s*<p><em><code>mmlib.*<div class="highlight"><pre>.*</div>\s*$'
    assert re.search(code, html, re.S)
    assert "```" not in html


def test_source_of_a_bound_method_is_the_method():
    assert show.source(System({}, "regression", 1).loss).data == show.source(System.loss).data


def test_source_changes_with_a_comment(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "probe_of_show.py"
    file.write_text(PROBE)
    module = importlib.import_module("probe_of_show")
    expected = 'def loss(self, x):\n    # the first term\n    return {"task": x}'
    assert fenced(show.source(module.Probe.loss)) == ("*`probe_of_show.py · Probe.loss`*", expected)
    file.write_text(PROBE.replace("first", "only"))
    importlib.reload(module)
    assert "# the only term" in show.source(module.Probe.loss).data
    monkeypatch.delitem(sys.modules, "probe_of_show")


def test_source_of_a_package_names_its_init_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "package_of_show").mkdir()
    (tmp_path / "package_of_show" / "__init__.py").write_text("def f():\n    pass\n")
    module = importlib.import_module("package_of_show")
    assert fenced(show.source(module.f))[0] == "*`package_of_show/__init__.py · f`*"
    monkeypatch.delitem(sys.modules, "package_of_show")


@pytest.mark.parametrize("obj", [len, int, 3, "text", np, System.traits, [].append], ids=lambda obj: type(obj).__name__)
def test_source_of_what_has_none(obj):
    with pytest.raises(TypeError, match="needs a function, method or class written in Python"):
        show.source(obj)


def test_table_by_hand():
    frame = pd.DataFrame({"method": ["SIM-C", "zero | fill"], "F1": [0.61249, np.nan], "n": [5, 10]})
    expected = """**Table 1**

| method | F1 | n |
| :--- | ---: | ---: |
| SIM-C | 0.612 | 5 |
| zero \\| fill | – | 10 |"""
    assert show.table(frame, "Table 1").data == expected


def test_table_with_named_index_and_two_header_rows():
    columns = pd.MultiIndex.from_product([["micro", "macro"], ["ours", "paper"]])
    index = pd.MultiIndex.from_tuples([("image", 0.2), ("text", 0.4)], names=["kept", "rate"])
    frame = pd.DataFrame([[0.5, 1.0, np.nan, 2.0], [-0.001, None, 3.25, 12.345]], index=index, columns=columns)
    expected = """| kept | rate | micro · ours | micro · paper | macro · ours | macro · paper |
| :--- | ---: | ---: | ---: | ---: | ---: |
| image | 0.20 | 0.50 | 1.00 | – | 2.00 |
| text | 0.40 | 0.00 | – | 3.25 | 12.35 |"""
    assert show.table(frame, digits=2).data == expected.replace("12.35", f"{12.345:.2f}")


def test_columns_of_numbers_are_aligned_and_long_names_may_break():
    numbers = ["0.93 ± 0.01", "–", "**−1.1 ± 1.0** (3 seeds)", "12,345", "7%"]
    frame = pd.DataFrame(
        {"100_image_20_text": numbers, "condition": ["100_image_20_text"] * 5, "kind": ["–"] * 4 + ["a"]}
    )
    header, rule = show.table(frame).data.split("\n")[:2]
    assert header == "| 100_<wbr>image_<wbr>20_<wbr>text | condition | kind |" and rule == "| ---: | :--- | :--- |"


def test_table_without_rows_and_of_mixed_cells():
    assert show.table(pd.DataFrame({"a": [], "b": []})).data.count("\n") == 1
    mixed = pd.DataFrame({"value": [1, 0.5, True, None, (1, 2), "two\nlines"]}, dtype=object)
    cells = [line.strip("| ") for line in show.table(mixed).data.split("\n")[2:]]
    assert cells == ["1", "0.500", "True", "–", "(1, 2)", "two lines"]


def test_check_prints_both_numbers_and_fails_where_they_differ(capsys):
    show.check("Eq 1", torch.tensor([[0.5, -0.0]], requires_grad=True), [[0.5, 0]])
    assert capsys.readouterr().out == "Eq 1, by code: [0.5, 0.0]\nEq 1, by hand: [0.5, 0.0]\n"
    with pytest.raises(AssertionError):
        show.check("Eq 2", 0.5, 0.51)
    assert "by code: [0.5]" in capsys.readouterr().out, "both numbers are there to compare"
    show.check("Eq 2", 0.5, 0.51, atol=0.1)
