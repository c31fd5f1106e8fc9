"""README.md's generated blocks: their marks, no number typed, and the prose says what the rows say."""

import re

import pytest

from mmlib.report import readme

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
    for paper, text in readme.PARAGRAPHS.items():
        assert len(re.findall(r"{\w+(:[^}]*)?}", text)) > 5
        assert not re.search(r"\d", re.sub(r"{[^}]*}|\bF1\b", "", text)), paper


def test_what_the_prose_says_is_what_the_rows_say():
    simc, umdf, admc, smcir = readme._simc(), readme._umdf(), readme._admc(), readme._smcir()
    assert simc["full"] > simc["missing"] > simc["floor"] > 0.9 and simc["not_worse"] > simc["configurations"] / 2
    assert umdf["dropout_below"] < umdf["below"]
    assert admc["own"] > max(admc["dropout"], admc["joint"], admc["zero"])
    assert admc["without"] > admc["own"] - 0.5 and abs(admc["made"] - admc["guess"]) < 2 < admc["early"] - admc["guess"]
    assert admc["conditional"] > admc["made_printed"] and abs(admc["conditional_own"] - admc["own"]) < 0.5
    for prefix in ("", "made_"):
        errors = [smcir[prefix + name] for name in ("own", "corrected", "without", "kept")]
        assert max(errors) - min(errors) < 0.01
    assert smcir["room"] == "-0.007 ± 0.007, -0.062 ± 0.015 and +0.018 ± 0.015"  # where completion could gain nothing
    assert smcir["made_oracle"] < min(errors) and smcir["finds_corrected"] == "1.00, 1.00 and 1.00"
    assert all(float(f1) < 0.2 for f1 in re.findall(r"[\d.]+", smcir["finds"]))
