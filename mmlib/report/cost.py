"""What a system costs, from data/results/speed.csv, which `make bench` writes."""

import pandas as pd

from mmlib import files
from mmlib.models import MODELS

_COLUMNS = {"parameters": "parameters", "a step": "a step, ms", "peak memory": "memory of a step, MiB"}
_SLOPES = {"B": "batch", "T": "frames", "d": "width", "M": "modalities", "N": "rows of an epoch"}


_NAMES = {"simc": "SIM-C", "if_mmin": "IF-MMIN", "self_mm": "Self-MM", "mfmb": "MFMB-Net"}
_NAMES |= {"fill": "zero fill", "unimodal": "one modality alone"}


def _name(system: str) -> str:
    """As the papers and the tables of results write it."""
    return _NAMES.get(system, MODELS[system].__name__ if system in MODELS else system)


def _lines(*suites: str) -> pd.DataFrame:
    path = files.home() / "data" / "results" / "speed.csv"
    lines = pd.read_csv(path, keep_default_na=False, na_values={"value": [""], "ratio": [""]})
    return lines[lines["suite"].isin(suites)]


def cost(*systems: str) -> pd.DataFrame:
    """Per system, at its paper's size: the batch, parameters, CPU time and memory of a step in its slowest stage.

    systems: names in MODELS, in this order. Raises KeyError for one that was not measured.
    """
    lines = _lines("systems")
    wide = lines.pivot(index="subject", columns="measure", values="value").loc[list(systems), list(_COLUMNS)]
    size = lines.drop_duplicates("subject").set_index("subject")["size"]
    wide.insert(0, "batch", size.reindex(wide.index))
    wide = wide.rename(columns=_COLUMNS).astype({"parameters": int})
    return wide.rename(index=_name).rename_axis("system")


def slopes(*systems: str) -> pd.DataFrame:
    """Per system: the exponent k by which the CPU time of a step, or of an epoch, grows with a size, time ~ size^k."""
    lines = _lines("scaling")
    lines = lines.assign(size=lines["measure"].str.removeprefix("slope in ").map(_SLOPES))
    wide = lines.pivot(index="subject", columns="size", values="value").loc[list(systems)]
    wide = wide[[name for name in _SLOPES.values() if name in wide and wide[name].notna().any()]]
    return wide.rename(index=_name).rename_axis("system").rename_axis(None, axis=1)


def shares(*systems: str) -> pd.DataFrame:
    """Per system: the percentage of a whole training's CPU time that each part of it takes."""
    lines = _lines("training")
    lines = lines[lines["measure"].str.startswith("training: ")]
    parts = lines["measure"].str.removeprefix("training: ")
    wide = lines.assign(part=parts).pivot(index="subject", columns="part", values="value")
    wide = wide.loc[list(systems), list(dict.fromkeys(parts))]
    return wide.rename(index=_name).rename_axis("system").rename_axis(None, axis=1)


def ratios(*suites: str) -> pd.DataFrame:
    """What was measured side by side: value, unit, against what, the ratio of both, and what was wanted."""
    lines = _lines(*suites).dropna(subset="ratio")
    lines = lines.assign(subject=lines["subject"].map(_name))
    return lines[["subject", "size", "measure", "value", "unit", "against", "ratio", "wanted"]].reset_index(drop=True)


def machine(suite: str) -> str:
    """The command, machine and versions behind the lines of a suite."""
    line = _lines(suite).iloc[0]
    return f"`{line['command']}`, {line['machine']}, {line['versions']}, commit {line['commit']}"
