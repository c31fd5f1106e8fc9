"""Made-up rows of every data set of the four papers, in the form of data/results: to see what is made of rows."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib import metrics
from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.report import rows
from mmlib.report.published import DATASETS
from mmlib.report.rows import COLUMNS, CORPORA, FOLDS

METRICS = {
    "multilabel": ("f1_micro", "f1_samples", "cell_accuracy"),
    "multiclass": ("ua", "accuracy", "f1_macro", "f1_weighted"),
    "multibinary": ("f1_mean", "f1_0", "f1_1", "f1_2", "f1_3"),
    "regression": ("mae", "corr", "acc2_non0", "f1_non0", "acc2_has0", "f1_has0"),
}
TRIVIAL = {("zero fill", ""): 0.55, ("zero fill + modality dropout", ""): 0.58, ("prior", ""): 0.3, ("coin", ""): 0.28}
SYSTEMS = {
    "simc": {("SIM-C", ""): 0.57, ("SIM-C", "two_stage"): 0.56, ("SIM-C", "zeros"): 0.57},
    "umdf": {("UMDF", ""): 0.6, ("UMDF", "any views"): 0.6, ("UMDF", "one view"): 0.58, ("UMDF", "w/o L_fea"): 0.59,
             ("UMDF", "w/o L_logits"): 0.57, ("UMDF", "w/o MCIM"): 0.58, ("UMDF", "w/o DFIM"): 0.59,
             ("UMDF", "complete rows only"): 0.5},
    "admc": {("ADMC", ""): 0.58, ("ADMC", "w/o ADN"): 0.6, ("ADMC", "w/o ITFN"): 0.55},
    "smcir": {("SMCIR", ""): 0.57, ("SMCIR", "corrected"): 0.575, ("SMCIR", "official"): 0.57, ("SMCIR", "w/o CMCG"): 0.57,
              ("SMCIR", "w/o DMFD"): 0.57, ("SMCIR", "w/o MSSE"): 0.56, ("zero fill, text kept", ""): 0.57},
}  # fmt: skip
"""Paper -> system -> the share of what can be known that it knows of complete rows."""
THREE = ("mosi_bclstm", "mmmo", "synthetic reviews", "synthetic iemocap")


def modalities(dataset: str) -> tuple[str, ...]:
    if "mmimdb" in dataset or dataset == "sarcasm":
        return "image", "text"
    if dataset == "avdigits":
        return "audio", "vision"
    return ("text", "audio", "vision") if dataset in THREE else ("text", "audio")


def task(dataset: str) -> str:
    if "mmimdb" in dataset:
        return "multilabel"
    if "one vs rest" in dataset:
        return "multibinary"
    return (
        "multiclass" if any(part in dataset for part in ("iemocap", "mintrec", "avdigits", "sarcasm")) else "regression"
    )


def conditions(paper: str, dataset: str) -> list[str]:
    names = modalities(dataset)
    if paper == "simc":
        return list(SIMC_CONFIGURATIONS)
    if dataset == "mintrec_mpnet":
        return ["complete"]
    sets = [s for n in range(1, len(names)) for s in itertools.combinations(names, n)]
    sets = [f"available({', '.join(s)})" for s in sets if paper != "smcir" or "text" in s]
    if paper == "umdf":
        return [*sets, "complete", *(f"frames({p / 10:g})" for p in range(11))]
    if dataset == "iemocap, binary":
        return [*sets, "complete", *(f"rate({p / 10:g})" for p in range(6))]
    return [*sets, "complete", *(["patterns(keep=text)"] if paper == "smcir" else [])]


def write_study(folder: Path, paper: str, dataset: str, flags: dict | None = None, seeds: int = 5) -> None:
    """data/results/<paper>_<study>.csv and .npz of one data set; flags: (method, variant, seed) -> text."""
    rng, lines = np.random.default_rng(len(paper) + len(dataset)), []
    alone = {(f"{m} alone", ""): 0.5 if m == "text" else 0.35 for m in modalities(dataset)}
    systems = SYSTEMS[paper] | TRIVIAL | alone | ({("oracle", ""): 0.7} if "synthetic" in dataset else {})
    if task(dataset) == "multilabel":
        systems |= {("all zeros", ""): 0.2}
    features = "synthetic" if "synthetic" in dataset else f"features of {dataset}, standardised"

    def add(system, protocol, condition, values, seed, fold=None):
        name = f"iemocap, fold {fold}" if fold else dataset
        flag = (flags or {}).get((*system, seed), "")
        for metric, value in values.items():
            lines.append(
                [
                    paper,
                    name,
                    features,
                    "test",
                    *system,
                    protocol,
                    condition,
                    metric,
                    seed,
                    value,
                    flag,
                    "c",
                    "d",
                    "run",
                ]
            )

    for system, condition, seed in itertools.product(systems, conditions(paper, dataset), range(seeds)):
        lost = 0.0 if condition in ("complete", "rate(0)", "frames(0)", SIMC_CONFIGURATIONS[0]) else 0.06
        lost += 0.02 * float(condition[7:-1]) if condition.startswith("frames") else 0
        know = systems[system] - (0 if system[0] in ("prior", "coin", "all zeros") else lost) + rng.normal(0, 0.004)
        values = {m: 2 - 1.5 * know if m == "mae" else know for m in METRICS[task(dataset)]}
        fold = seed + 1 if dataset == FOLDS else None
        protocols = {condition, SIMC_CONFIGURATIONS[0]} if paper == "simc" else {"complete"}
        for protocol in sorted(protocols):
            add(system, protocol, condition, values, 0 if fold else seed, fold)
    if paper == "smcir":
        for variant, seed in itertools.product(("", "official", "corrected"), range(seeds)):
            for m in modalities(dataset)[1:]:
                for condition, share in (("complete", 0.1), ("available(text)", 0.9), ("patterns(keep=text)", 0.5)):
                    values = {f"diagnosed_{m}": share}
                    if "keep" in condition:
                        f1 = 0.95 if variant == "corrected" else 0.2
                        values |= {f"precision_{m}": f1, f"recall_{m}": f1, f"diagnosis_f1_{m}": f1}
                    add(("SMCIR", variant), "complete", condition, values, seed)
    if dataset in ("iemocap", "synthetic iemocap") and paper == "admc":
        names = modalities(dataset)
        for reader, seed, n, (a, b) in itertools.product(
            ("head", "probe"),
            range(seeds),
            ("n=30", "n=50", "n=80", "n=1000", "conditional"),
            itertools.permutations(names, 2),
        ):
            add(("ADMC", reader), "complete", f"{a} -> {b}, {n}", {"ua": 0.26, "accuracy": 0.26}, seed)
    if paper == "admc" and dataset in ("iemocap", FOLDS, "synthetic iemocap"):
        for system, seed in itertools.product(("MMER", "Use_ITFN", "Jointly_training"), range(seeds)):
            fold = seed + 1 if dataset == FOLDS else None
            add(
                (system, ""),
                "complete",
                "complete",
                {"ua": 0.6 + seed / 500, "accuracy": 0.6},
                0 if fold else seed,
                fold,
            )
    for system in list(SYSTEMS[paper])[:2]:
        for lr, role, value in ((0.002, "trial", 0.5), (0.0005, "chosen", 0.55)):
            condition = f"validation, lr {lr}, decay none"
            lines.append(
                [paper, dataset, features, role, *system, "complete", condition, "loss", 0, value, "", "c", "d", "run"]
            )
    table = pd.DataFrame(lines, columns=list(COLUMNS[:-2]))
    path = folder / f"{paper}_{CORPORA[dataset].study}.csv"
    table.to_csv(path, index=False)
    primary = np.flatnonzero(table["metric"].eq(metrics.PRIMARY[task(dataset)]) & table["role"].eq("test"))
    deviation = rng.normal(0, 60, (len(primary), metrics.RESAMPLES)).round().astype(np.int16)
    np.savez_compressed(path.with_suffix(".npz"), row=primary, deviation=deviation)


def write_peers(folder: Path, paper: str, dataset: str, scores: dict[str, float], **columns: str) -> None:
    """A study of a paper, and one of compared systems on its data, each with one score everywhere; columns: of its rows."""
    write_study(folder, paper, dataset)
    table = pd.read_csv(folder / f"{paper}_{CORPORA[dataset].study}.csv")
    table = table[(table["method"] == "zero fill") & (table["role"] == "test")].assign(paper="compared", **columns)
    table = pd.concat([table.assign(method=method, value=value) for method, value in scores.items()])
    whole = dict.fromkeys(["condition", "protocol"], {SIMC_CONFIGURATIONS[0]: "complete"})
    table.replace(whole).to_csv(folder / f"compared_{dataset}.csv", index=False)


def write_all(folder: Path) -> None:
    for paper, datasets in DATASETS.items():
        for dataset in datasets:
            flags = {("zero fill", "", 1): "limit", ("UMDF", "w/o MCIM", 2): "limit; at_prior"}
            write_study(folder, paper, dataset, flags)


@contextmanager
def read_from(root: Path, write: Callable[[Path], None] = write_all) -> Iterator[Path]:
    """The project reads its rows from root/data/results, which `write` fills, and the papers' numbers as they are."""
    folder = root / "data" / "results"
    folder.mkdir(parents=True)
    (root / "data" / "reported").symlink_to(rows.ROOT / "data" / "reported")
    write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "ROOT", root)
        yield folder


def nothing(folder: Path) -> None:
    """Writes no row."""
