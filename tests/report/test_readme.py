"""README.md's generated blocks: their marks, no number typed, and the prose says what the rows say."""

import re

import pytest

from mmlib.report import readme
from mmlib.report.findings import NUMBERS, SENTENCES, detection

TEXT = "# Title\n\n<!-- results -->\nold\n<!-- /results -->\n\nkept\n\n<!-- claims -->\n<!-- /claims -->\nend\n"


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(readme, "BLOCKS", {"results": lambda: "new", "claims": lambda: "judged"})


def test_blocks_are_replaced_and_the_rest_is_kept(short, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    readme.write(path)
    once = path.read_text()
    assert once == TEXT.replace("\nold\n", "\n\nnew\n\n").replace("claims -->\n<!", "claims -->\n\njudged\n\n<!")
    readme.write(path)
    assert path.read_text() == once


@pytest.mark.parametrize("mark", ["<!-- claims -->", "<!-- /results -->"])
def test_a_missing_mark_is_named_and_nothing_is_written(short, tmp_path, mark):
    path = tmp_path / "README.md"
    path.write_text(TEXT.replace(mark, ""))
    with pytest.raises(ValueError, match=f"lacks the line {mark}; put it"):
        readme.write(path)
    assert "old" in path.read_text()


def test_no_number_is_typed():
    for paper, (claim, finding) in SENTENCES.items():
        assert len(re.findall(r"{\w+(:[^}]*)?}", claim + finding)) > 2
        assert not re.search(r"\d", re.sub(r"{[^}]*}|\bF1\b", "", claim + finding)), paper


def test_what_the_sentences_say_is_what_the_rows_say():
    simc, umdf, admc, smcir = (NUMBERS[paper]() for paper in ("simc", "umdf", "admc", "smcir"))
    assert simc["full"] > simc["missing"] > simc["floor"] > 0.9 and simc["zero"] > simc["own"]
    assert umdf["zero"] < umdf["own"] < umdf["dropout"] and umdf["dropout_below"] < umdf["below"]
    assert admc["own"] > admc["joint"] and abs(admc["generated"] - admc["guess"]) < 1 < admc["without"] - admc["joint"]
    assert admc["without"] > admc["own"] - 0.5 and admc["generated_printed"] - admc["guess"] > 10
    assert all(f1 < 0.2 for f1 in detection("")) and all(f1 > 0.995 for f1 in detection("corrected"))
    assert smcir["gain"] == "-0.007 ± 0.007, -0.062 ± 0.015 and +0.018 ± 0.015"  # completion could gain nothing


def test_the_door(tmp_path):
    """The two commands stand within the first forty lines, the whole page is short, and every link leads somewhere."""
    text = readme.README.read_text()
    lines = text.splitlines()
    assert len(lines) < 150 and lines.index("## Two commands") < 30 and "make test" in "\n".join(lines[:40])
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (readme.README.parent / target).exists(), target
