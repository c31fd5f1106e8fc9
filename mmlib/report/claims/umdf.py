"""The claims of UMDF and their judges."""

from functools import partial

import pandas as pd

from mmlib import metrics
from mmlib.report.claims import verdicts
from mmlib.report.claims.verdicts import BASELINE, FAILS, HOLDS, UNCHECKED, Claim, Judgement, ballot, compare, gains
from mmlib.report.intervals import best, paired
from mmlib.report.published import EMOTIONS
from mmlib.report.rows import Rows, SystemName, grid, main_metric, missing_conditions, score

UMDF = ("UMDF", "")
CLIPS = ("mosi_bclstm", "mosi", "iemocap")  # mmmo's training clips have no text
RATES = tuple(f"frames({p / 10:g})" for p in range(1, 10))


def _without(ours: Rows, printed: Rows, *, part: str) -> Judgement:
    """UMDF against itself without one of its parts: only sequences can show a difference."""
    return Judgement(
        UNCHECKED,
        f"UMDF {part} was measured on one real data set, mosi_bclstm, which has 1 frame per modality. With 1 frame DFIM's "
        "enhancement changes nothing, a convolution of kernel 3 uses one of its taps and attention is linear. Missing: "
        f"UMDF {part} on real sequences",
    )


def _language(ours: Rows, printed: Rows) -> Judgement:
    sides, lines = [], []
    for dataset in CLIPS:
        metric = main_metric(ours, dataset)
        alone = {c[10:-1]: c for c in missing_conditions(ours, dataset) if "," not in c}
        values = {m: score(ours, dataset, UMDF, metric, [c]) for m, c in alone.items()}
        side, differences = best(values.pop("text"), values, metric)
        sides.append(side)
        lines.append(f"{dataset} " + ", ".join(f"{d} over {name}" for name, d in differences.items()))
    certainty = verdicts.certainty(differences)
    return ballot(sides, f"UMDF with text alone, gain over another modality alone ({certainty}): {'; '.join(lines)}")


def _slowly(ours: Rows, printed: Rows) -> Judgement:
    differences = {}
    for dataset in CLIPS:
        metric = main_metric(ours, dataset)

        def change(system: SystemName, dataset: str = dataset, metric: str = metric) -> pd.Series:
            complete = score(ours, dataset, system, metric, ["frames(0)"])
            return score(ours, dataset, system, metric, RATES) - complete

        differences[dataset] = paired(change(UMDF), change(BASELINE), metric)
    return ballot(
        [d.side for d in differences.values()],
        f"From p = 0 to the mean over p = .1, .., .9 UMDF loses less than {BASELINE[0]} by "
        f"({verdicts.certainty(differences)}): {verdicts.listed(differences)}",
    )


def _complete_rows(ours: Rows, printed: Rows) -> Judgement:
    differences = {}
    for dataset in ("mosi_bclstm", "mosi"):
        for name, conditions in (("missing", missing_conditions(ours, dataset)), ("complete", ["complete"])):
            rival = ("UMDF", "complete rows only")
            differences[f"{dataset} {name}"] = compare(ours, dataset, UMDF, rival, conditions)
    return ballot(
        [d.side for d in differences.values()],
        "Gain of UMDF over the same network trained on complete clips, tested with missing modalities and on complete clips "
        f"({verdicts.certainty(differences)}): {verdicts.listed(differences)}",
    )


def _complete_rivals(ours: Rows, printed: Rows) -> Judgement:
    columns = [("1", dataset, metric) for dataset in ("MOSI", "MOSEI") for metric in ("mae", "f1")]
    columns += [("2", "IEMOCAP", f"f1_{emotion}") for emotion in EMOTIONS]
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


_ABLATIONS = "Table 3; Figure 5; Ablation Studies"
CLAIMS = (
    Claim("Abstract; Table 1; Table 2", partial(gains, a=UMDF, b=BASELINE, datasets=CLIPS, without_vote=("synthetic mosi",)),
          "One network is robust under all six sets of available modalities (average F1 75.56 on MOSI)."),
    Claim(_ABLATIONS, partial(_without, part="w/o L_fea"),
          "Feature distillation helps: without L_fea the average F1 on MOSI falls from 75.56 to 73.50."),
    Claim(_ABLATIONS, partial(_without, part="w/o L_logits"),
          "Logits distillation helps: without L_logits the average F1 on MOSI falls from 75.56 to 73.88."),
    Claim(_ABLATIONS, partial(_without, part="w/o MCIM"),
          "MCIM helps: with self-attention in place of crossmodal attention the average F1 on MOSI falls to 74.39."),
    Claim(_ABLATIONS, partial(_without, part="w/o DFIM"),
          "DFIM helps: with a concatenation in its place the average F1 on MOSI falls to 74.87."),
    Claim("Table 1; Comparison with State-of-the-Art Methods", _language,
          "Language is the strongest modality: it says most about sentiment."),
    Claim("Figure 3; Figure 4; Comparison with State-of-the-Art Methods", _slowly,
          "As more frames are missing performance falls, and UMDF's falls the least."),
    Claim("Abstract", _complete_rows,
          "The framework significantly improves sentiment analysis, with modalities missing and on complete clips."),
    Claim("Table 1; Table 2; Comparison with State-of-the-Art Methods", _complete_rivals,
          "On complete clips UMDF outperforms MCTN, TransM, SMIL and GCNet on all data sets."),
)  # fmt: skip
