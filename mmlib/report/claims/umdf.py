"""The claims of UMDF."""

import pandas as pd

from mmlib import metrics
from mmlib.report.claims.verdicts import FAILS, HOLDS, SIMPLE, UNCHECKED, Judge, Judgement, _listed, _sure, ballot
from mmlib.report.intervals import best, paired
from mmlib.report.rows import COMPLETE, Entry, Rows, grid, holes, main_metric, score

UMDF = ("UMDF", "")
CLIPS = ("mosi_bclstm", "mosi", "iemocap")  # mmmo's training clips have no text
RATES = tuple(f"frames({p / 10:g})" for p in range(1, 10))


def _without(part: str) -> Judge:
    """UMDF against itself without one of its parts: only sequences can tell."""

    def judge(ours: Rows, printed: Rows) -> Judgement:
        return Judgement(
            UNCHECKED,
            f"UMDF {part} was measured on one real data set, mosi_bclstm, which has 1 frame per modality. With 1 frame DFIM's "
            "enhancement changes nothing, a convolution of kernel 3 uses one of its taps and attention is linear. Missing: "
            f"UMDF {part} on real sequences",
        )

    return judge


def _language(ours: Rows, printed: Rows) -> Judgement:
    sides, lines = [], []
    for dataset in CLIPS:
        metric = main_metric(ours, dataset)
        others = [c for c in holes(ours, dataset) if "," not in c and c != "available(text)"]
        text = score(ours, dataset, UMDF, metric, ["available(text)"])
        side, found = best(text, {c[10:-1]: score(ours, dataset, UMDF, metric, [c]) for c in others}, metric)
        sides.append(side)
        lines.append(f"{dataset} " + ", ".join(f"{d} over {name}" for name, d in found.items()))
    return ballot(
        sides,
        f"UMDF with text alone, gain over another modality alone ({_sure(found)}): {'; '.join(lines)}",
    )


def _slowly(ours: Rows, printed: Rows) -> Judgement:
    found = {}
    for dataset in CLIPS:
        metric = main_metric(ours, dataset)

        def change(system: Entry, dataset: str = dataset, metric: str = metric) -> pd.Series:
            whole = score(ours, dataset, system, metric, ["frames(0)"])
            return score(ours, dataset, system, metric, RATES) - whole

        found[dataset] = paired(change(UMDF), change(SIMPLE), metric)
    return ballot(
        [d.side for d in found.values()],
        f"From p = 0 to the mean over p = .1, .., .9 UMDF loses less than {SIMPLE[0]} by ({_sure(found)}): {_listed(found)}",
    )


def _complete_rows(ours: Rows, printed: Rows) -> Judgement:
    found = {}
    for dataset in ("mosi_bclstm", "mosi"):
        metric = main_metric(ours, dataset)
        for name, where in (("holes", holes(ours, dataset)), ("complete", COMPLETE)):
            both = (score(ours, dataset, system, metric, where) for system in (UMDF, ("UMDF", "complete rows only")))
            found[f"{dataset} {name}"] = paired(*both, metric)
    return ballot(
        [d.side for d in found.values()],
        f"Gain of UMDF over the same network trained on complete clips, tested with holes and complete ({_sure(found)}): "
        f"{_listed(found)}",
    )


def _complete_rivals(ours: Rows, printed: Rows) -> Judgement:
    columns = [("1", dataset, metric) for dataset in ("MOSI", "MOSEI") for metric in ("mae", "f1")]
    columns += [("2", "IEMOCAP", f"f1_{emotion}") for emotion in ("happy", "sad", "angry", "neutral")]
    behind = []
    for table, dataset, metric in columns:
        values = grid(printed, table, dataset, metric)["complete"]
        rivals = values[["MCTN", "TransM", "SMIL", "GCNet"]]
        top = rivals.idxmin() if metric == "mae" else rivals.idxmax()
        if not metrics.better(metric, values["UMDF"], values[top]):
            behind.append(f"{dataset} {metric.removeprefix('f1_')} {values['UMDF']:g} ({top} {values[top]:g})")
    return Judgement(
        FAILS if behind else HOLDS,
        f"Tables 1 and 2, {{l, a, v}}: UMDF is ahead of the four in {len(columns) - len(behind)} of {len(columns)} columns"
        + (f", behind in {', '.join(behind)}" if behind else ""),
    )
