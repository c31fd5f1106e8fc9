"""The claims of UMDF and their judges."""

from collections.abc import Sequence
from functools import partial

from mmlib import metrics
from mmlib.report.claims import verdicts
from mmlib.report.claims.verdicts import FAILS, HOLDS, Case, Claim, Judgement, Measured, NoVote, Printed, gains
from mmlib.report.intervals import against, paired
from mmlib.report.needs import CLEAN, FRAMES, HEADROOM, STATIC
from mmlib.report.published import DROPOUT, EMOTIONS, FRAME_DROPOUT, UNTRAINED
from mmlib.report.rows import CORPORA, Rows, SystemName, grid, main_metric, missing_conditions, sampled

UMDF = ("UMDF", "")
MOSI, SYNTHETIC = ("mosi_words", "mosi_mpnet", "mosi_bclstm"), "synthetic reviews"
EMOTIONAL = "iemocap_mpnet, one vs rest"
CLIPS = (*MOSI, EMOTIONAL, SYNTHETIC)


def printed_fall(printed: Rows, dataset: str, conditions: Sequence[str]) -> float:
    """The printed loss of UMDF's F1 from complete clips to the mean over these sets, as a fraction."""
    if dataset == EMOTIONAL:
        tables = [grid(printed, "2", "IEMOCAP", f"f1_{emotion}") for emotion in EMOTIONS]
    else:
        tables = [grid(printed, "1", "MOSI", "f1")]
    f1 = sum(table.loc["UMDF"] for table in tables) / len(tables) / 100
    return f1["complete"] - f1[list(conditions)].mean()


_POINT = 0.01  # by which F1 may fall more than in print


def can_be_as_robust(rows: Rows, printed: Rows, dataset: str, metric: str, conditions: Sequence[str]) -> bool:
    """Whether some system can fall by so little: the best score of each set, whichever system has it on test, against the
    best one on complete clips."""
    return bool(least_fall(rows, dataset, metric, conditions) <= printed_fall(printed, dataset, conditions) + _POINT)


def _robust(case: Case) -> Judgement:
    """As robust as printed: from complete clips to the sets F1 falls by at most a point more than in the paper's tables."""

    def fall(system: SystemName, dataset: str, metric: str, conditions: Sequence[str]):
        complete = sampled(case.ours, dataset, system, metric, [CORPORA[dataset].complete])
        return complete - sampled(case.ours, dataset, system, metric, conditions)

    def measure(dataset: str, scope: str, conditions: Sequence[str]) -> Measured:
        metric = "f1_mean" if dataset == EMOTIONAL else "f1_non0"
        own, zero = (fall(system, dataset, metric, conditions) for system in (UMDF, ("zero fill", "")))
        if not can_be_as_robust(case.ours, case.printed, dataset, metric, conditions):
            least = least_fall(case.ours, dataset, metric, conditions)
            raise NoVote(f"the best system of each set falls by {least * 100:.1f} points, more than is allowed")
        in_print = printed_fall(case.printed, dataset, conditions)
        falls = [f"{100 * value:.1f}" for value in (own[0].mean(), in_print, zero[0].mean())]
        aside = "UMDF falls by {} points, in print by {}, zero fill by {}".format(*falls)
        return Measured({"": paired(-own, -(in_print + _POINT), metric)}, aside=aside)

    return verdicts.poll(
        case, "By how much less than the printed fall, plus a point, F1 falls from complete clips to the mean over the sets",
        (*MOSI, EMOTIONAL), measure, {"missing": missing_conditions},
    )  # fmt: skip


def least_fall(rows: Rows, dataset: str, metric: str, conditions: Sequence[str]) -> float:
    """From the best trained system on complete clips to the mean over the sets of the best one on each."""
    own = rows[(rows["dataset"] == dataset) & (rows["metric"] == metric) & ~rows["method"].isin(UNTRAINED)]
    best = own.groupby(["condition", "method", "variant"])["value"].mean().groupby("condition").max()
    return float(best[CORPORA[dataset].complete] - best[list(conditions)].mean())


def _language(case: Case) -> Judgement:
    def measure(dataset: str, scope: str, conditions: Sequence[str]) -> Measured:
        metric = main_metric(case.ours, dataset)
        alone = {c[10:-1]: sampled(case.ours, dataset, UMDF, metric, [c]) for c in conditions if "," not in c}
        text = alone.pop("text", None)
        if text is None:
            text = sampled(case.ours, dataset, UMDF, metric, ["available(text)"])  # names what is missing
        return Measured(against(text, alone, metric))

    return verdicts.poll(
        case, "Gain of UMDF with text alone over another modality alone", (*MOSI, EMOTIONAL), measure,
        {"missing": missing_conditions},
    )  # fmt: skip


def _slowly(case: Case) -> Judgement:
    """UMDF loses frames in training: so must a rival, or what its training saw decides, not its idea."""
    names = ("zero fill", DROPOUT, FRAME_DROPOUT)

    def measure(dataset: str, scope: str, conditions: Sequence[str]) -> Measured:
        metric = main_metric(case.ours, dataset)

        def change(system: SystemName):
            complete = sampled(case.ours, dataset, system, metric, [CORPORA[dataset].complete])
            return sampled(case.ours, dataset, system, metric, conditions) - complete

        own, rivals = change(UMDF), {name: change((name, "")) for name in names}
        shared = verdicts.shared_seeds(case.ours, dataset, UMDF, own, *rivals.values())  # flags leave out seeds of any
        return Measured(against(own.loc[shared], {name: rival.loc[shared] for name, rival in rivals.items()}, metric))

    return verdicts.poll(
        case, "From p = 0 to the mean over p = .1, .3, .5, .7, .9 UMDF loses less than each rival by", (*MOSI, SYNTHETIC),
        measure, {"frames": verdicts.SCOPES["frames"]},
    )  # fmt: skip


def _complete_rivals(case: Case) -> Judgement:
    columns = [("1", dataset, metric) for dataset in ("MOSI", "MOSEI") for metric in ("mae", "f1")]
    columns += [("2", "IEMOCAP", f"f1_{emotion}") for emotion in EMOTIONS]
    behind = []
    for table, dataset, metric in columns:
        values = grid(case.printed, table, dataset, metric)["complete"]
        rivals = values[["MCTN", "TransM", "SMIL", "GCNet"]]
        top = rivals.idxmin() if metric == "mae" else rivals.idxmax()
        if not metrics.better(metric, values["UMDF"], values[top]):
            behind.append(f"{dataset} {metric.removeprefix('f1_')} {values['UMDF']:g} ({top} {values[top]:g})")
    return Judgement(
        FAILS if behind else HOLDS,
        f"Tables 1 and 2, {{l, a, v}}: UMDF is ahead of the four in {len(columns) - len(behind)} of {len(columns)} columns"
        + (f", behind in {', '.join(behind)}" if behind else ""),
    )


def _part(name: str) -> partial:
    """UMDF over itself without one of its parts, which only sequences can show."""
    effect = Printed("f1_non0", "f1", "3", "MOSI", "UMDF", f"UMDF {name}", full_table="1")
    return partial(gains, a=UMDF, rivals=[("UMDF", name)], datasets=(*MOSI, SYNTHETIC), printed=effect)


_ABLATIONS, _OF_PARTS = "Table 3; Figure 5; Ablation Studies", (FRAMES, CLEAN)
CLAIMS = (
    Claim("Abstract; Table 1; Table 2", _robust,
          "One network is robust under all six sets of available modalities (average F1 75.56 on MOSI).", (CLEAN,)),
    Claim("Abstract; Introduction; Methodology",
          partial(gains, a=UMDF, rivals=[("UMDF", "one view")], datasets=CLIPS, trivial=True, aside_in="f1_non0"),
          "Distillation between two views of a clip makes one network fit for missing modalities.", (HEADROOM, CLEAN)),
    Claim(_ABLATIONS, _part("w/o L_fea"),
          "Feature distillation helps: without L_fea the average F1 on MOSI falls from 75.56 to 73.50.", _OF_PARTS),
    Claim(_ABLATIONS, _part("w/o L_logits"),
          "Logits distillation helps: without L_logits the average F1 on MOSI falls from 75.56 to 73.88.", _OF_PARTS),
    Claim(_ABLATIONS, _part("w/o MCIM"),
          "MCIM helps: with self-attention in place of crossmodal attention the average F1 on MOSI falls to 74.39.", _OF_PARTS),
    Claim(_ABLATIONS, _part("w/o DFIM"),
          "DFIM helps: with a concatenation in its place the average F1 on MOSI falls to 74.87.", _OF_PARTS),
    Claim("Table 1; Comparison with State-of-the-Art Methods", _language,
          "Language is the strongest modality: it says most about sentiment.", (CLEAN,)),
    Claim("Figure 3; Figure 4; Comparison with State-of-the-Art Methods", _slowly,
          "As more frames are missing performance falls, and UMDF's falls the least.", (FRAMES, STATIC, CLEAN)),
    Claim("Abstract",
          partial(gains, a=UMDF, rivals=[("UMDF", "complete rows only")], datasets=(*MOSI, SYNTHETIC),
                  scopes=("missing", "frames", "complete")),
          "The framework significantly improves sentiment analysis, with modalities missing and on complete clips.",
          (FRAMES, STATIC, CLEAN)),
    Claim("Table 1; Table 2; Comparison with State-of-the-Art Methods", _complete_rivals,
          "On complete clips UMDF outperforms MCTN, TransM, SMIL and GCNet on all data sets."),
)  # fmt: skip
