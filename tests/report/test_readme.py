"""README.md's generated blocks: their marks, and sentences that follow the sign and the interval of the numbers."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest

from mmlib import report, runs
from mmlib.models import MODELS
from mmlib.report import readme, rows
from mmlib.report.findings import chance_of_detection, votes
from mmlib.report.gains import _CONTESTS, gains, of_peers, peers, size, without_vote
from mmlib.report.intervals import Difference
from mmlib.report.needs import CLEAN, HEADROOM, Need
from mmlib.report.published import DATASETS, TITLES
from mmlib.report.rows import matched, trained_complete
from tests.helpers import results as made

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


# --- gains ---


def difference(mean, half, metric="ua", seeds=5):
    return Difference(metric, mean, half / 2, seeds, half, np.nan)


@pytest.mark.parametrize(
    "gain, cell",
    [
        ((0.008, 0.005), "**+0.8 ± 0.5**"),
        ((-0.008, 0.005), "**−0.8 ± 0.5**"),
        ((0.004, 0.005), "+0.4 ± 0.5"),
        ((-0.0001, 0.005), "+0.0 ± 0.5"),
        ((0.02, 0.01, "mae"), "**+0.020 ± 0.010**"),
        ((-0.004, 0.01, "ua", 4), "−0.4 ± 1.0 (4 seeds)"),
    ],
)
def test_a_cell_follows_the_interval(gain, cell):
    assert size(difference(*gain)) == cell and size(None) == "–"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with made.read_from(tmp_path_factory.mktemp("rows")) as folder:
        yield folder


@pytest.fixture(scope="module")
def sentences(folder):
    return report.findings().set_index("paper")["what we find"]


@pytest.fixture(scope="module")
def table(folder):
    return report.gained().set_index("method")


def test_gains_are_those_of_the_rows(folder):
    found = gains("admc", ("ADMC", "w/o ADN"), [], ["avdigits"])
    rows = report.results("admc")
    rows = rows[
        (rows["dataset"] == "avdigits") & (rows["metric"] == "ua") & rows["condition"].str.startswith("available")
    ]
    by_system = rows.groupby(["method", "variant"])["value"].mean()
    assert found.of["avdigits"].mean == pytest.approx(by_system["ADMC", ""] - by_system["ADMC", "w/o ADN"])
    trivial = gains("admc", None, [], ["avdigits"]).of["avdigits"]  # the best by its mean
    assert trivial.mean == pytest.approx(by_system["ADMC", ""] - by_system["zero fill + modality dropout", ""])


def test_data_without_a_vote_are_named_and_not_counted(folder):
    need = Need("an even name", lambda rows, dataset, conditions: "odd" if dataset == "avdigits" else "")
    found = gains("admc", ("ADMC", "w/o ADN"), [need], ["avdigits", "iemocap"])
    assert list(found.of) == ["iemocap"] and found.without == ["avdigits"]


def test_data_without_a_vote_on_completion_are_named_in_the_sentence(folder, monkeypatch):
    assert (
        without_vote("admc") == [] and "No vote" not in report.findings().set_index("paper").loc["ADMC", "what we find"]
    )
    lacking = Need("headroom", lambda rows, dataset, conditions: "none" if dataset == "avdigits" else "")
    admc = _CONTESTS["admc"][0]._replace(needs=(lacking,))
    monkeypatch.setattr("mmlib.report.gains.HEADROOM", lacking)
    monkeypatch.setitem(_CONTESTS, "admc", (admc,))
    assert without_vote("admc") == ["avdigits"] and votes("admc") == "No vote on completion: digits."


def test_simc_is_compared_as_it_was_trained(table, sentences):
    for name, scope in (("SIM-C, trained as tested", matched), ("SIM-C, trained on complete rows", trained_complete)):
        found = gains("simc", ("SIM-C", "zeros"), [HEADROOM], scope=scope)
        assert list(found.of) == list(DATASETS["simc"])
        assert table.loc[name, "over its control"].tolist() == [size(gain) for gain in found.of.values()]
    assert "scores 0.908" in sentences["SIM-C"] and "points of F-samples (the paper prints it)" in sentences["SIM-C"]


def test_every_method_is_compared_with_its_control_and_with_the_best_trivial_row(table, sentences):
    for name in ("SIM-C, trained as tested", "UMDF", "ADMC", "SMCIR"):
        assert not (table.loc[name, ["over its control", "over the best trivial row"]] == "–").any().any(), name
    control = gains("admc", ("ADMC", "w/o ADN"), [HEADROOM, CLEAN], ["iemocap"]).of["iemocap"]
    emotions = table[table["data"] == "IEMOCAP"]
    assert emotions.loc["ADMC", "over its control"] == size(control)
    assert emotions.loc["ITFN of ADMC, over joint training", "over the best trivial row"] == "–"
    assert "in print 8.0" in sentences["UMDF"]
    assert "classified with a UA of 26.0 %, a guess has " in sentences["ADMC"]
    # Film reviews and synthetic clips have more than one frame of audio and vision.
    assert "(film reviews and synthetic reviews): as printed 0.20 and 0.20, " in sentences["SMCIR"]


def test_compared_systems_are_judged_over_their_controls(tmp_path):
    scores = {"MMIN": 0.6, "MMIN, zeros": 0.55, "TATE": 0.4, "TATE, w/o guidance": 0.5, "AE": 0.5, "AE, zeros": 0.5, "CRA": 0.5,
              "ShaSpec": 0.7, "zero fill + modality dropout": 0.65}  # fmt: skip
    with made.read_from(tmp_path, lambda folder: made.write_peers(folder, "admc", "iemocap", scores)):
        assert peers().empty, "complete rows are not better than what is left"
        path = tmp_path / "data/results/compared_iemocap.csv"
        table = pd.read_csv(path)
        table.loc[(table["method"] == "zero fill + modality dropout") & (table["condition"] == "complete"), "value"] = (
            0.9
        )
        table.to_csv(path, index=False)
        found, cells = of_peers("iemocap"), peers()
        one = (table["method"] == "AE") & (table["seed"] == 1)
        table.assign(value=table["value"].where(~one, 0.6)).to_csv(path, index=False)
        still_open = peers()
    assert cells["IEMOCAP: UA"].to_dict() == {
        "AE": "+0.0 ± 0.0 / **−15.0 ± 0.0**", "CRA": "+0.0 ± 0.0 / **−15.0 ± 0.0**", "MMIN": "**+5.0 ± 0.0** / **−5.0 ± 0.0**",
        "ShaSpec": "– / **+5.0 ± 0.0**", "TATE": "**−10.0 ± 0.0** / **−25.0 ± 0.0**",
    }  # fmt: skip
    # Gains of 0, 10, 0, 0, 0 points: 2 ± 2.776 * 2.
    assert still_open.loc["AE", "IEMOCAP: UA"].startswith("+2.0 ± 5.6 / ")
    assert list(found["ShaSpec"]) == ["over modality dropout"], "it has no control in these rows"
    assert found["ShaSpec"]["over modality dropout"].mean == pytest.approx(0.05)


def test_without_rows_nothing_is_said_of_compared_systems(tmp_path):
    with made.read_from(tmp_path, lambda folder: made.write_study(folder, "admc", "iemocap")):
        assert peers().empty and of_peers("iemocap") == {}


def test_each_row_says_on_which_features(folder):
    features = report.findings().set_index("paper")["features"]
    assert "digits: features of avdigits" in features["ADMC"] and "standardised" not in "".join(features)


def test_without_rows_each_finding_says_so_in_one_sentence(tmp_path):
    with made.read_from(tmp_path, made.nothing):
        page = report.findings()
        block = readme.findings_block()
    assert page["paper"].tolist() == list(TITLES.values()) and (page["features"] == "none yet").all()
    assert (
        page["what we find"]
        .str.count("Our networks are not run yet: python -m mmlib.runs notebooks/studies/")
        .eq(1)
        .all()
    )
    assert "nan" not in block and "[UMDF](notebooks/umdf.ipynb)" in block


def test_some_studies_alone_make_whole_sentences(tmp_path):
    def write(folder):
        made.write_study(folder, "umdf", "synthetic reviews")
        made.write_study(folder, "smcir", "mmmo")

    with made.read_from(tmp_path, write):
        found = report.findings().set_index("paper")
    assert found.loc["UMDF", "features"] == "synthetic" and "Loss of F1" not in found.loc["UMDF", "what we find"]
    assert "(film reviews): as printed 0.20, " in found.loc["SMCIR", "what we find"]
    assert (
        "not run yet" not in found.loc["SMCIR", "what we find"] and "not run yet" in found.loc["ADMC", "what we find"]
    )


def test_no_measured_number_is_typed():
    code = inspect.getsource(inspect.getmodule(gains))
    texts = [text for text in re.findall(r'"([^"\n]*)"', code) if " " in text]
    typed = [t for t in texts if re.search(r"\d", re.sub(r"{[^}]*}|\bF1\b|'.*'|n=\d+", "", t))]
    assert typed == [], typed


def test_the_door(monkeypatch):
    """The two commands stand within the first forty lines, the whole page is short, and every link leads somewhere."""
    monkeypatch.setattr(rows, "ROOT", runs.ROOT)  # the committed rows
    text = readme.README.read_text()
    lines = text.splitlines()
    written = sum(line.startswith(tuple(f"| {name} |" for name in MODELS)) for line in lines)  # a line for each system
    gains = len(report.gained())
    assert written == len(MODELS) and len(lines) - written - gains < 170
    assert lines.index("## Two commands") < 30 and "make test" in "\n".join(lines[:40])
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (readme.README.parent / target).exists(), target


def test_the_readme_is_what_would_be_written_now(monkeypatch):
    monkeypatch.setattr(rows, "ROOT", runs.ROOT)  # the committed rows
    text = readme.README.read_text()
    assert readme.render(text) == text, "run `make results`"


def test_comparisons_are_the_gains_in_every_metric(folder):
    table = report.comparisons()
    assert set(table["paper"]) == set(TITLES.values())
    line = table[(table["compared"] == "ADMC over joint training") & (table["data"] == "digits")].iloc[0]
    assert line["gain"] == str(gains("admc", ("ADMC", "w/o ITFN"), [HEADROOM, CLEAN], ["avdigits"]).of["avdigits"])
    films = table[table["compared"].eq("SIM-C over the best trivial row") & table["data"].eq("films, IMDb genres")]
    assert films["gain"].str.extract(r"of (\w+)")[0].nunique() == 2 and films["trained on"].nunique() == 2


def test_detectors_stand_beside_a_coin_and_an_answer_that_is_always_yes():
    # Of the four sets with text, two lack audio: a coin has 0.5; precision 0.5 and recall 1 are F1 = 2 / 3.
    assert list(chance_of_detection().values()) == pytest.approx([0.5, 2 / 3])
