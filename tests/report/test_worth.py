"""What a modality is worth: by hand, by the axioms of Shapley's value, and by counting all orders of the modalities."""

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest

from mmlib.report.rows import MissingRows
from mmlib.report.worth import contributions, shapley, worth

TWO = {"": 0.25, "text": 0.6, "audio": 0.4, "text, audio": 0.7}
THREE = {"": 0, "a": 1, "b": 2, "c": 0, "a, b": 6, "a, c": 1, "b, c": 2, "a, b, c": 6}


def game(values):
    return {frozenset(name.split(", ")) if name else frozenset(): value for name, value in values.items()}


def random_game(players, seed):
    random = np.random.default_rng(seed)
    return {frozenset(s): random.normal() for k in range(len(players) + 1) for s in combinations(players, k)}


def by_orders(values):
    players = max(values, key=len)
    gains = {p: [] for p in players}
    for order in permutations(sorted(players)):
        for k, player in enumerate(order):
            gains[player].append(values[frozenset(order[: k + 1])] - values[frozenset(order[:k])])
    return {p: np.mean(g) for p, g in gains.items()}


def rows(values, method="UMDF", seed=0, **columns):
    """Rows of one run, and of the prior where the empty set has a value; other columns as of `rows.results`."""
    everything = max(values, key=len)
    lines = [
        {"method": method if name else "prior", "value": value,
         "condition": f"available({name})" if name not in ("", everything) else "complete"}
        for name, value in values.items()
    ]  # fmt: skip
    shared = {"paper": "umdf", "dataset": "mosi", "role": "test", "variant": "", "protocol": "complete", "metric": "ua"}
    return pd.DataFrame(lines).assign(**shared, seed=seed, flags="").assign(**columns)


def without(values, *names):
    return {name: value for name, value in values.items() if name not in names}


def test_two_modalities_by_hand():
    # text: ((0.6 - 0.25) + (0.7 - 0.4)) / 2; audio: ((0.4 - 0.25) + (0.7 - 0.6)) / 2
    assert shapley(game(TWO)) == pytest.approx({"text": 0.325, "audio": 0.125})


def test_three_modalities_by_hand():
    # a: 1/3 of (1 - 0), 1/6 of (6 - 2), 1/6 of (1 - 0), 1/3 of (6 - 2); c adds nothing to any set
    assert shapley(game(THREE)) == pytest.approx({"a": 2.5, "b": 3.5, "c": 0})


@pytest.mark.parametrize("players", ["a", "ab", "abc", "abcd"])
def test_mean_over_all_orders_and_efficiency(players):
    for seed in range(5):
        values = random_game(players, seed)
        shares = shapley(values)
        assert shares == pytest.approx(by_orders(values))
        assert sum(shares.values()) == pytest.approx(values[frozenset(players)] - values[frozenset()])


def test_symmetry_and_a_dummy():
    values = random_game("abc", 0)
    swap = str.maketrans("ab", "ba")
    same = {s: (v + values[frozenset(p.translate(swap) for p in s)]) / 2 for s, v in values.items()}
    assert shapley(same)["a"] == pytest.approx(shapley(same)["b"])
    dummy = {s: values[s - {"c"}] + 0.5 * ("c" in s) for s in values}
    assert shapley(dummy)["c"] == pytest.approx(0.5), "a player that adds the same to every set is worth just that"


def test_a_set_without_a_value_is_refused():
    with pytest.raises(KeyError):
        shapley(without(game(THREE), frozenset("ab")))


def test_table_is_in_points_over_seeds_and_the_oracle_is_last():
    better = TWO | {"text": 0.62, "text, audio": 0.74}
    table = worth(pd.concat([rows(TWO, "oracle"), rows(without(TWO, "")), rows(better, seed=1)]), "mosi")
    # seed 1, text: ((0.62 - 0.25) + (0.74 - 0.4)) / 2 = 0.355; deviation of 32.5 and 35.5: 3 / sqrt 2
    assert table.loc["UMDF"].tolist() == ["34.0 ± 2.1", "13.0 ± 0.7", "47.0 ± 2.8", ""]
    assert list(table.index) == ["UMDF", "oracle"] and list(table) == ["text", "audio", "total", "note"]
    assert table.loc["oracle"].tolist() == ["32.5", "12.5", "45.0", ""]


def test_a_smaller_error_is_a_gain():
    error = {name: 1 - value for name, value in TWO.items()}
    values = contributions(rows(error, metric="mae"), "mosi")
    np.testing.assert_allclose(values, [[0.325, 0.125, 0.45]])
    assert worth(rows(error, metric="mae"), "mosi").loc["UMDF", "text"] == "0.325"


def test_only_test_rows_of_the_main_metric_and_the_data_set_count():
    others = [rows(THREE, role="trial"), rows(THREE, dataset="mmmo"), rows(THREE, metric="accuracy")]
    frames = rows(TWO).assign(condition="frames(0.5)")
    assert worth(pd.concat([rows(TWO), frames, *others]), "mosi").equals(worth(rows(TWO), "mosi"))


def test_order_of_the_names_in_a_condition_does_not_matter():
    turned = {", ".join(reversed(name.split(", "))): value for name, value in THREE.items()}
    np.testing.assert_allclose(contributions(rows(turned), "mosi")[["a", "b", "c", "total"]], [[250, 350, 0, 600]])


def test_a_missing_set_or_prior_is_a_gap_with_its_reason():
    gaps = without(THREE, "", "b, c")
    table = worth(pd.concat([rows(THREE), rows(gaps, "ADMC"), rows(without(THREE, ""), "SIM-C", seed=7)]), "mosi")
    assert table.loc["ADMC"].tolist() == ["–", "–", "–", "600.0", "no score: available(b, c)"]
    assert table.loc["SIM-C"].tolist() == ["–", "–", "–", "–", "no score: prior"]
    one_seed = pd.concat(
        [rows(THREE), rows(THREE | {"": 0}, seed=1).query("condition != 'complete' or method == 'prior'")]
    )
    table = worth(one_seed, "mosi")
    assert table.loc["UMDF"].tolist() == [
        "250.0 (1 of 2)",
        "350.0 (1 of 2)",
        "0.0 (1 of 2)",
        "600.0 (1 of 2)",
        "no score: complete",
    ]


def test_flags_are_in_the_note():
    table = worth(pd.concat([rows(TWO), rows(TWO, seed=1, flags="limit (mf text)")]), "mosi")
    assert table.loc["UMDF", "note"] == "flagged (1 of 2 runs) limit (mf text)"


def test_variants_and_protocols_of_training_are_methods_of_their_own():
    game = without(TWO, "")
    parts = [rows(TWO, "SIM-C"), rows(game, "SIM-C", protocol="rates(text=0.1)"), rows(game, "SIM-C", variant="zeros")]
    again = [rows(TWO, "oracle", protocol=protocol) for protocol in ("complete", "rates(text=0.1)")]
    methods = ["SIM-C, trained on complete", "SIM-C, trained on rates(text=0.1)", "SIM-C, zeros", "oracle"]
    assert list(worth(pd.concat(parts + again), "mosi").index) == methods


@pytest.mark.parametrize(
    "table", [rows(TWO).query("method != 'prior'"), rows(TWO).query("condition == 'complete'"),
              pd.concat([rows(TWO), rows({"text, audio": 0.7, "text, audio, x": 0})]), rows(TWO, dataset="other")],
)  # fmt: skip
def test_without_a_prior_or_all_modalities_there_is_nothing_to_divide(table):
    with pytest.raises(MissingRows, match="needs the prior under 'complete', and scores under sets"):
        worth(table, "mosi")
