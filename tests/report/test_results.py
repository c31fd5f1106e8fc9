"""Committed results are whole, and the README is what they say."""

import pytest

from mmlib.models import simc
from mmlib.report import readme
from mmlib.report.rows import results

SEEDS = [0, 1, 2, 3, 4]


UMDF_SETS = {  # modalities, variants of UMDF
    "mosi": (2, {"", "complete rows only", "cloned streams"}),
    "mosi_bclstm": (
        3,
        {"", "w/o L_fea", "w/o L_logits", "w/o MCIM", "w/o DFIM", "complete rows only", "cloned streams"},
    ),
    "mmmo": (3, {""}),
    "iemocap": (2, {"", "cloned streams"}),
    "synthetic mosi": (
        3,
        {"", "w/o L_fea", "w/o L_logits", "w/o MCIM", "w/o DFIM", "complete rows only", "cloned streams"},
    ),
}


ADMC_SETS = {  # modalities, variants of ADMC, seeds
    "iemocap": (2, {"", "w/o ITFN", "w/o ADN", "official", "conditional"}, SEEDS),
    "mosi_bclstm": (3, {"", "w/o ADN"}, SEEDS),
    "mintrec_text": (1, {""}, SEEDS),
    "iemocap, binary": (2, {""}, SEEDS),
    "synthetic iemocap": (3, {"", "w/o ADN"}, SEEDS),
} | {f"iemocap, fold {k}": (2, {""}, [0]) for k in range(1, 6)}


ABLATIONS = {"", "corrected", "official", "w/o DMFD", "w/o MSSE", "w/o CMCG"}
BOTH = ABLATIONS | {"corrected, w/o DMFD", "corrected, w/o MSSE", "DMFD on audio", "DMFD on vision", "M", "S"}
SMCIR_SETS = {  # modalities that can be diagnosed, variants of SMCIR
    "mosi": (("audio",), ABLATIONS),
    "mosi_bclstm": (("audio", "vision"), BOTH),
    "mmmo": (("audio", "vision"), BOTH | {"H", "HM", "HS", "MS"}),
    "synthetic mosi": (("audio", "vision"), BOTH | {"H", "HM", "HS", "MS"}),
}


@pytest.fixture(scope="module")
def rows():
    return results("simc")


@pytest.fixture(scope="module")
def umdf():
    return results("umdf")


def test_every_configuration_has_all_methods_and_five_seeds(rows):
    assert set(rows["protocol"]) == {*simc.SIMC_CONFIGURATIONS, "complete"}
    assert (rows["protocol"] == rows["condition"]).all()
    groups = rows.groupby(["protocol", "method", "variant", "metric"], dropna=False)["seed"].apply(sorted)
    single = groups.index.get_level_values("method") == "best single modality"
    assert all(seeds == SEEDS for seeds in groups[~single]), groups[groups.map(len) != 5]
    variants = set(rows.loc[rows["method"] == "SIM-C", "variant"])
    rates = ("lr 5e-05", "lr 0.0002", "lr chosen on validation")
    assert variants == {f"paper, {s}, {r}" for s in ("joint", "two_stage") for r in rates}
    trivial = {"prior", "all zeros", "zero fill", "zero fill + modality dropout", "mean fill", "best single modality"}
    assert trivial < set(rows["method"])
    assert rows["features"].nunique() == 1 and "EfficientNet" in rows["features"].iloc[0]
    assert rows.groupby("protocol")["data"].nunique().max() == 1, "one data set per protocol"
    assert not rows["commit"].str.endswith("+").any(), "made from a clean checkout"


def test_the_chosen_rate_is_one_of_the_tried(rows):
    simc = rows[(rows["method"] == "SIM-C") & (rows["metric"] == "f1_micro")]
    values = simc.pivot(index=["protocol", "seed"], columns="variant", values="value")
    for schedule in ("joint", "two_stage"):
        chosen = values[f"paper, {schedule}, lr chosen on validation"]
        tried = values[[f"paper, {schedule}, lr {lr}" for lr in ("5e-05", "0.0002")]]
        assert tried.eq(chosen, axis=0).any(axis=1).all()


def test_umdf_has_all_sets_methods_patterns_and_five_seeds(umdf):
    tested = umdf[~umdf["condition"].str.contains("validation")]
    assert set(tested["dataset"]) == set(UMDF_SETS)
    for name, part in tested.groupby("dataset"):
        single = part["method"] == "best single modality"
        seeds = part[~single].groupby(["method", "variant", "condition", "metric"])["seed"].apply(sorted)
        assert all(s == SEEDS for s in seeds), (name, seeds[seeds.map(len) != 5])
        methods = {"UMDF", "zero fill", "zero fill + modality dropout", "best single modality", "prior"}
        assert methods | ({"oracle"} if "synthetic" in name else set()) == set(part["method"])
        modalities, variants = UMDF_SETS[name]
        assert variants == set(part.loc[part["method"] == "UMDF", "variant"])
        sets = {c for c in part["condition"] if c.startswith("available(") and " then " not in c}
        assert len(sets) == 2**modalities - 2 and "complete" in set(part["condition"])
        assert part["features"].nunique() == 1 and part.groupby("seed")["data"].nunique().eq(1).all()
    assert not umdf["commit"].str.endswith("+").any(), "made from a clean checkout"


def test_the_metrics_of_a_condition_agree_with_each_other(umdf):
    """frames(0) loses nothing, so it is complete; rows that lose more are not better for the oracle."""
    index = ["dataset", "method", "variant", "metric", "seed"]
    wide = umdf.drop_duplicates([*index, "condition"]).pivot(index=index, columns="condition", values="value")
    both = wide[["complete", "frames(0)"]].dropna()
    assert len(both) > 100 and (both["complete"] - both["frames(0)"]).abs().max() < 1e-6


@pytest.fixture(scope="module")
def admc():
    return results("admc")


def test_admc_has_all_sets_methods_patterns_and_five_seeds(admc):
    assert set(admc["dataset"]) == set(ADMC_SETS)
    for name, part in admc.groupby("dataset"):
        modalities, variants, expected = ADMC_SETS[name]
        single = part["method"] == "best single modality"
        seeds = part[~single].groupby(["method", "variant", "condition", "metric"])["seed"].apply(sorted)
        assert all(s == expected for s in seeds), (name, seeds[seeds.map(len) != len(expected)])
        methods = {"ADMC", "zero fill", "zero fill + modality dropout", "best single modality", "prior"}
        assert methods <= set(part["method"])
        assert variants == set(part.loc[part["method"] == "ADMC", "variant"]) - {"head", "probe"}
        sets = {c for c in part["condition"] if c.startswith("available(")}
        assert len(sets) == 2**modalities - 2 and "complete" in set(part["condition"])
        directions = {c.rsplit(", ", 1)[0] for c in part["condition"] if "->" in c}
        missing_of = {1: 0, 2: 2, 3: 9}
        assert len(directions) == missing_of[modalities]
        assert part["features"].nunique() == 1
    assert not admc["commit"].str.endswith("+").any(), "made from a clean checkout"


def test_a_missing_rate_of_nothing_is_complete(admc):
    index = ["dataset", "method", "variant", "metric", "seed"]
    wide = admc[admc["condition"].isin(["complete", "rate(0)"])].drop_duplicates([*index, "condition"])
    wide = wide.pivot(index=index, columns="condition", values="value").dropna()
    assert len(wide) > 100 and (wide["complete"] - wide["rate(0)"]).abs().max() < 1e-6


@pytest.fixture(scope="module")
def smcir():
    return results("smcir")


def test_smcir_has_all_sets_methods_conditions_and_five_seeds(smcir):
    assert set(smcir["dataset"]) == set(SMCIR_SETS)
    for name, part in smcir.groupby("dataset"):
        watched, variants = SMCIR_SETS[name]
        seeds = part.groupby(["method", "variant", "condition", "metric"])["seed"].apply(sorted)
        assert all(s == SEEDS for s in seeds), (name, seeds[seeds.map(len) != 5])
        methods = {"SMCIR", "zero fill", "zero fill + modality dropout", "zero fill, text kept", "text alone", "prior"}
        assert set(part["method"]) == methods | ({"oracle"} if "synthetic" in name else set())
        assert set(part.loc[part["method"] == "SMCIR", "variant"]) == variants
        sets = {"available(text)"} | {f"available(text, {m})" for m in watched if len(watched) > 1}
        assert {c for c in part["condition"] if c.startswith("available")} == sets
        assert {"complete", "patterns(keep=text)"} < set(part["condition"]) and part["features"].nunique() == 1
        assert {f"diagnosis_f1_{m}" for m in watched} < set(part["metric"])
    assert not smcir["commit"].str.endswith("+").any(), "made from a clean checkout"


def test_the_corrected_detector_finds_what_is_gone_and_nothing_else(smcir):
    corrected = smcir[smcir["variant"] == "corrected"]
    assert (corrected.loc[corrected["metric"].str.startswith("diagnosis_f1"), "value"] > 0.95).all()
    shares = corrected[corrected["metric"].str.startswith("diagnosed")]
    assert (shares.loc[shares["condition"] == "complete", "value"] < 0.05).all()
    gone = shares[(shares["condition"] == "available(text)")]
    assert len(gone) >= 30 and (gone["value"] > 0.95).all()


def test_the_readme_is_what_would_be_written_now():
    text = readme.README.read_text()
    assert readme.render(text) == text, "run `make results`"


def test_the_comparison_has_every_system_and_five_seeds():
    rows = results("compare")
    rows = rows[rows["condition"] != "training"]
    assert rows["dataset"].nunique() == 8
    everywhere = {
        "SIM-C",
        "UMDF",
        "ADMC",
        "SMCIR",
        "SMCIR, corrected",
        "zero fill",
        "zero fill + modality dropout",
        "prior",
    }
    for name, part in rows.groupby("dataset"):
        synthetic, multilabel = "synthetic" in name, "mmimdb" in name
        modalities = {c for c in part["condition"] if c.startswith("available(") and " then " not in c}
        alone = {f"{c[10:-1]} alone" for c in modalities}
        others = ({"oracle"} if synthetic else set()) | ({"all zeros"} if multilabel else set())
        assert set(part["method"]) == everywhere | alone | others and len(modalities) == 2
        seeds = part.groupby(["method", "condition", "metric"])["seed"].apply(sorted)
        assert all(s == SEEDS for s in seeds), (name, seeds[seeds.map(len) != 5])
        assert part["features"].nunique() == 1 and part.groupby("seed")["data"].nunique().eq(1).all()
    without_text = rows[~rows["condition"].isin(["complete", "available(text)", "patterns(keep=text)"])]
    assert not without_text["method"].str.startswith("SMCIR").any(), "SMCIR is not defined there"
    assert not rows["commit"].str.endswith("+").any(), "made from a clean checkout"
