"""What each modality is worth to a system: exact Shapley values of its scores under all sets of available modalities.

The value of a set is the main metric under `available(...)` or, of all modalities, under `complete`; that of the empty set
is the score of the prior with the same seed. So the worths of all modalities add up to complete minus prior. They are gains:
in points (hundredths) of the metric; for mae in units of the target, with the sign turned.
"""

import re
from collections.abc import Mapping
from itertools import combinations
from math import comb

import pandas as pd

from mmlib.report.rows import AVAILABLE, MissingRows, Rows, main_metric, mean_text

Set = frozenset[str]


def worth(rows: Rows, dataset: str) -> pd.DataFrame:
    """One line per method, the oracle last; columns: each modality, 'total' (complete minus prior) and 'note'.

    Cells are 'mean ± standard deviation' over seeds, – where there is no number. The note names the conditions that lack a
    score and the flags of the rows that count. rows, methods, units, errors: as in `contributions`.
    """
    scored, values = _scored(rows, dataset), contributions(rows, dataset)
    digits = 3 if main_metric(rows, dataset) == "mae" else 1
    table = values.groupby(level="method", sort=False).agg(lambda column: mean_text(column, digits))
    gaps = _games(scored)[0].isna().groupby(level="method").any()
    flagged = scored[scored["flags"] != ""].drop_duplicates(["method", "seed", "flags"])

    def note(method: str) -> str:
        lacking, runs = ", ".join(gaps.columns[gaps.loc[method]]), len(values.loc[method])
        counts = flagged.loc[flagged["method"] == method, "flags"].value_counts()
        flags = [f"flagged ({count} of {runs} runs) {text}" for text, count in counts.items()]
        return "; ".join([f"no score: {lacking}"] * bool(lacking) + flags)

    return table.assign(note=[note(method) for method in table.index])


def contributions(rows: Rows, dataset: str) -> pd.DataFrame:
    """The numbers of `worth`: a line per method and seed, a column per modality and 'total'; nan where a score is absent.

    rows: of one paper, with the columns of `rows.results`; those of the data set with the role 'test' count. The name of a
    method has its variant and, where it has several, the protocol of training. The prior has no line.
    Raises MissingRows where there is no prior under `complete`, or the sets available(...) do not name all modalities.
    """
    games, sets = _games(_scored(rows, dataset))
    values = pd.DataFrame(shapley({s: games[condition] for s, condition in sets.items()}))
    unit = -1 if main_metric(rows, dataset) == "mae" else 100
    return values.assign(total=games["complete"] - games["prior"]) * unit


def shapley(values: Mapping[Set, float | pd.Series]) -> dict[str, float | pd.Series]:
    """Each player's gain for the set of players that it joins, averaged over all orders in which the players can come.

    values: of every set of players, the empty one included: numbers, or series of numbers for many games at once. With n
    players, the gain for a set of k others has the weight k! (n - k - 1)! / n! (Shapley: A Value for n-Person Games, 1953).
    KeyError for a set without a value.
    """
    everyone = max(values, key=len)

    def share(player: str) -> float | pd.Series:
        sets = [Set(s) for k in range(len(everyone)) for s in combinations(everyone - {player}, k)]
        gains = [(values[s | {player}] - values[s]) / comb(len(everyone) - 1, len(s)) for s in sets]
        return sum(gains) / len(everyone)

    return {player: share(player) for (player,) in (s for s in values if len(s) == 1)}


def _scored(rows: Rows, dataset: str) -> Rows:
    """The rows that count, with the name of the system as method; the oracle's come last."""
    rows = rows[(rows["dataset"] == dataset) & (rows["role"] == "test")]
    rows = rows[rows["metric"] == main_metric(rows, dataset)]
    rows = rows[rows["condition"].str.fullmatch(f"{AVAILABLE}|complete")]
    trained = ~rows["method"].isin(["prior", "oracle"])  # the other two score the same under every protocol of training
    several = rows.groupby(["method", "variant"])["protocol"].transform("nunique") > 1
    variant = (", " + rows["variant"]).where(rows["variant"] != "", "")
    protocol = (", trained on " + rows["protocol"]).where(trained & several, "")
    rows = rows.assign(method=rows["method"] + variant + protocol)
    rows = rows[trained | ~rows.duplicated(["method", "seed", "condition"])]
    return rows.sort_values("method", key=lambda names: names == "oracle", kind="stable")


def _games(scored: Rows) -> tuple[pd.DataFrame, dict[Set, str]]:
    """A line per method and seed, a column per condition, nan where there is no score; and the condition of each set."""
    named = {c: re.findall(r"\w+", c)[1:] for c in scored["condition"].unique() if c != "complete"}
    modalities = list(dict.fromkeys(m for names in named.values() for m in names))
    found = {Set(names): c for c, names in named.items()}
    is_prior = scored["method"] == "prior"
    prior = scored[is_prior & (scored["condition"] == "complete")].set_index("seed")["value"]
    if prior.empty or Set(modalities) in {Set(), *found}:
        needs = "the prior under 'complete', and scores under sets available(...) that are smaller than 'complete'"
        raise MissingRows(f"worth: needs {needs}; the conditions are {sorted(set(scored['condition']))}")
    found |= {Set(): "prior", Set(modalities): "complete"}
    everything = [s for k in range(len(modalities) + 1) for s in combinations(modalities, k)]
    sets = {Set(s): found.get(Set(s), f"available({', '.join(s)})") for s in everything}
    lines = scored[~is_prior]
    games = lines.pivot(index=["method", "seed"], columns="condition", values="value")
    runs = pd.MultiIndex.from_frame(lines[["method", "seed"]].drop_duplicates())
    games = games.reindex(index=runs, columns=list(sets.values()))
    return games.assign(prior=games.index.get_level_values("seed").map(prior)), sets
