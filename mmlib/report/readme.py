"""The results section of README.md, written from data/results and data/reported.

    python -m mmlib.report.readme

What stands between `<!-- name -->` and `<!-- /name -->` is replaced, for each name of `BLOCKS`. Every number is
computed.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from mmlib import show
from mmlib.data import corpora
from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.report import published, ranks
from mmlib.report.claims.page import page
from mmlib.report.intervals import paired
from mmlib.report.rows import FOLDS, SystemName, measured, missing_conditions, printed_cells, results, score
from mmlib.report.summary import summary
from mmlib.runs import records

README = records.ROOT / "README.md"
ZERO, DROPOUT, ORACLE = ("zero fill", ""), ("zero fill + modality dropout", ""), ("oracle", "")


def write(path: Path = README) -> None:
    """Replaces the generated blocks of a README. Raises ValueError, before it writes, where it lacks a mark of one."""
    path.write_text(render(path.read_text()))


def render(text: str) -> str:
    """The text of a README with its generated blocks as they would be written now; ValueError as for `write`."""
    for name, block in BLOCKS.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        before, opened, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            lacking = (end if opened else start).strip()
            raise ValueError(f"README.md lacks the line {lacking}; put it where {name} belong")
        text = f"{before}{start}\n{block()}\n\n{end}{after}"
    return text


def results_block() -> str:
    """The summary, and for each paper what it says and a figure, as markdown."""
    parts = [_joined(INTRODUCTION), show.table(summary()).data]
    for paper, numbers in (("simc", _simc), ("umdf", _umdf), ("admc", _admc), ("smcir", _smcir)):
        parts += [_joined(PARAGRAPHS[paper]).format(**numbers()), _joined(FIGURES[paper], "\n\n")]
    return "\n\n".join(parts)


def claims() -> str:
    """Each claim of the papers that was put to the test, with its verdict, as markdown."""
    return show.table(page()[["paper", "claim", "verdict"]]).data


def comparison() -> str:
    """Average ranks of all systems on equal terms, as markdown."""
    blocks = ranks.comparison(results("compare").replace({"method": ranks.ANEW}))
    columns, said = {}, []
    for title, table in blocks.items():
        average, cd = ranks.average_ranks(table), ranks.nemenyi(table).cd
        columns[f"{title} ({len(table)} blocks, critical difference {cd:.2f})"] = average
        apart = average.index[(average - average[DROPOUT[0]]).abs() > cd]
        p = ranks.friedman(table.drop(columns="prior")).chi2_p
        names = ", ".join(apart) or "none"
        said.append(
            f"*{title}*: told apart from {DROPOUT[0]}: {names}; Friedman's test without the prior: p = {p:.2f}."
        )
    said.append(
        "ADMC is being measured anew, and its rank is no result: its fusion stage and one of its encoders were stopped too "
        "early, by early stopping on a plateau of F1."
    )
    by_rank = pd.DataFrame(columns).rename_axis("method")
    return show.table(by_rank.sort_values(list(columns)[0]), digits=2).data + "\n\n" + " ".join(said)


BLOCKS = {"results": results_block, "claims": claims, "comparison": comparison}

INTRODUCTION = """
*missing (n)* is the mean over the n sets of available modalities (SIM-C: configurations; two classes: missing rates)
that our data have, the published number over the same sets; *complete* is everything available. *difference* is ours
minus published: **features and often labels differ from the papers', so it is not a reproduction error alone**, and
beside other clips than the published ones nothing is subtracted. ± is the standard deviation over seeds (each session
once for test: over sessions; SMCIR on film reviews: over folds). *best baseline* is the best of zeros or means in place
of what is missing, with and without modality dropout, one modality alone, and guesses. The oracle is the exact
posterior of synthetic data and its likeliest answer, the best there is in error and accuracy, not quite so in UA and
F1. SIM-C is its two-stage schedule at the paper's learning rate, SMCIR its equations as printed. Every published table
beside ours, and the verdicts in full: [notebooks/results.ipynb](notebooks/results.ipynb).
"""

PARAGRAPHS = {
    "simc": """
**SIM-C** ([notebook](notebooks/simc.ipynb)): movie genres from poster and plot. The printed F-micro is cell accuracy,
on which predicting nothing scores {floor:.3f}: the published {full:.2f} and {missing:.2f} are {above_full:.2f} and
{above_missing:.2f} above that. On these features zeros in place of what is missing, trained under the same holes, do as
well as SIM-C's best variant or better in {not_worse} of {configurations} configurations (F-samples with holes
{zero:.3f} against {own:.3f}). Where training films are complete and lose a modality only at test, the gain of simulation
is being measured anew, because a control was missing: the same network with zeros in place of the simulated embeddings,
trained on the same films.
""",
    "umdf": """
**UMDF** ([notebook](notebooks/umdf.ipynb)): sentiment from text, audio and video; no code was ever released. Over the
missing sets of MOSI clips it has F1 {own:.1f}, zeros in place of what is missing {zero:.1f}, with modality dropout
{dropout:.1f}; of MOSI vectors {vectors:.1f}, {vectors_zero:.1f} and {vectors_dropout:.1f}; on synthetic clips it is
{below:.1f} points below the oracle, zero fill with modality dropout {dropout_below:.1f}. The average over MOSI clips
contains audio alone, which is being measured anew by error and correlation: neither UMDF nor zero fill predicts
sentiment from it, and weighted F1 gives a random guess about twice what it gives a constant answer.
""",
    "admc": """
**ADMC** ([notebook](notebooks/admc.ipynb)): emotion and intent; missing features are generated by a diffusion model.
On IEMOCAP encoders trained alone (ITFN) pay: UA {own:.1f} over the missing sets, {joint:.1f} without them, {zero:.1f}
for zero fill, {dropout:.1f} with modality dropout (each session once for test {folds:.1f} against {folds_dropout:.1f}
with modality dropout; two classes, accuracy, {two:.1f} against {two_dropout:.1f}). The diffusion does not: with zeros in
place of its features (*w/o ADN*) the same networks reach {without:.1f}, and text generated from audio as in the paper is
classified with {made:.1f} % where guessing gives {guess:.1f} (printed: {made_printed:.1f}), with {early:.1f} % if the
audio is merged in from the first step, {conditional:.1f} % if the denoiser sees it clean (not in the paper;
{conditional_own:.1f} over the missing sets all the same). On synthetic clips ADMC is being measured anew, because its
fusion stage was stopped too early.
""",
    "smcir": """
**SMCIR** ([notebook](notebooks/smcir.ipynb)): sentiment; a detector finds which samples lack audio or video, a
generator rebuilds that from the text; the released training code cannot run. As printed the detector does not detect:
on MOSI vectors, MOSI tokens and synthetic clips it finds what is missing with an F1 of {finds}, and calls {false} % of
the modalities of complete clips missing; the released code's reaches {finds_released}, ours with its faults mended
(*corrected*) {finds_corrected}. Completion has next to nothing to gain on these data: with everything available SMCIR
gains {room} over text alone in mean absolute error (confidence intervals over seeds; on MOSI tokens audio hurts). To
the prediction completion makes no difference there: mean absolute error over the missing sets of MOSI vectors {own:.3f}
as printed, {corrected:.3f} corrected, {without:.3f} without the generator, {kept:.3f} for zero fill trained under the
same hiding; on synthetic clips {made_own:.3f}, {made_corrected:.3f}, {made_without:.3f} and {made_kept:.3f}, where the
oracle has {made_oracle:.3f}. What is rebuilt is made from the text, which the fusion reads anyway.
""",
}
"""What each paper's rows say. A number is never written here: `results` fills it in."""

FIGURES = {
    "simc": """
![t-SNE of real and imputed embeddings under complex_20_40_40](figures/simc_fig1.png)

*The paper's Figure 1 on these features: imputed embeddings lie among the real ones to the eye, and a linear classifier
still tells them apart.*
""",
    "umdf": """
![scores against the frame missing rate](figures/umdf_fig3.png)

*The form of the paper's Figure 3 on these features and on synthetic clips: mean absolute error and F1 as frames are
lost.*
""",
    "admc": """
![t-SNE of real and generated features for several start steps](figures/admc_fig3.png)

*The form of the paper's Figure 3 on these features: generated features look alike whatever the start step n.*
""",
    "smcir": """
![share of clips diagnosed missing against the share that lacks the modality](figures/smcir_fig3.png)

*What the paper's Figure 3 leaves open: how often the detector says missing, against how many clips lack the modality.
The grey line is a detector that is right.*
""",
}


def _joined(text: str, between: str = " ") -> str:
    """The paragraphs of a wrapped text, each on one line."""
    return between.join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def mean(
    paper: str, dataset: str, metric: str, system: SystemName, conditions: Sequence[str] = (), unit: float = 100
) -> float:
    """A system's mean over seeds and conditions (by default all sets that lack something), our fractions times unit."""
    rows = measured(paper, dataset)
    return float(score(rows, dataset, system, metric, conditions or missing_conditions(rows, dataset)).mean()) * unit


def _simc() -> dict[str, float]:
    floor = 1 - sum(corpora.MMIMDB_GENRES.values()) / (corpora.MMIMDB_FILMS * len(corpora.MMIMDB_GENRES))
    place = ("simc", "1", "MM-IMDb", "SIM-C", ["f_micro_as_printed"])
    full, missing = (printed_cells(*place, c).item() for c in (SIMC_CONFIGURATIONS[:1], SIMC_CONFIGURATIONS[1:]))
    ((_, variants),) = published.TABLES["simc", "3"].lines.items()

    def samples(system: SystemName, conditions: Sequence[str] = ()) -> float:
        return mean("simc", "mmimdb_subset", "f1_samples", system, conditions, unit=1)

    return {
        "floor": floor,
        "full": full,
        "missing": missing,
        "above_full": full - floor,
        "above_missing": missing - floor,
        "not_worse": sum(samples(ZERO, [c]) >= max(samples(v, [c]) for v in variants) for c in SIMC_CONFIGURATIONS),
        "configurations": len(SIMC_CONFIGURATIONS),
        "zero": samples(ZERO),
        "own": max(samples(v) for v in variants),
    }


def _umdf() -> dict[str, float]:
    own = ("UMDF", "")

    def f1(system: SystemName, dataset: str = "mosi") -> float:
        return mean("umdf", dataset, "f1_non0", system)

    oracle = f1(ORACLE, dataset="synthetic mosi")
    return {
        "own": f1(own),
        "zero": f1(ZERO),
        "dropout": f1(DROPOUT),
        "vectors": f1(own, dataset="mosi_bclstm"),
        "vectors_zero": f1(ZERO, dataset="mosi_bclstm"),
        "vectors_dropout": f1(DROPOUT, dataset="mosi_bclstm"),
        "below": oracle - f1(own, dataset="synthetic mosi"),
        "dropout_below": oracle - f1(DROPOUT, dataset="synthetic mosi"),
    }


def _admc() -> dict[str, float]:
    own, head, direction = ("ADMC", ""), ("ADMC", "head"), "audio -> text"

    def ua(system: SystemName, *conditions: str, dataset: str = "iemocap") -> float:
        return mean("admc", dataset, "ua", system, conditions)

    return {
        "own": ua(own),
        "zero": ua(ZERO),
        "dropout": ua(DROPOUT),
        "joint": ua(("ADMC", "w/o ITFN")),
        "folds": ua(own, dataset=FOLDS),
        "folds_dropout": ua(DROPOUT, dataset=FOLDS),
        "two": mean("admc", "iemocap, binary", "accuracy", own),
        "two_dropout": mean("admc", "iemocap, binary", "accuracy", DROPOUT),
        "without": ua(("ADMC", "w/o ADN")),
        "made": ua(head, f"{direction}, n=50"),
        "made_printed": printed_cells("admc", "4", "IEMOCAP", "ADMC", ["ua"], [f"{direction}, n=50"]).item(),
        "guess": ua(("prior", "")),
        "early": ua(head, f"{direction}, n=1000"),
        "conditional": ua(head, f"{direction}, conditional"),
        "conditional_own": ua(("ADMC", "conditional")),
    }


def _smcir() -> dict[str, float | str]:
    datasets = ("mosi_bclstm", "mosi", "synthetic mosi")
    own, corrected, released = ("SMCIR", ""), ("SMCIR", "corrected"), ("SMCIR", "official")
    without, kept = ("SMCIR", "w/o CMCG"), ("zero fill, text kept", "")
    systems = {"own": own, "corrected": corrected, "without": without, "kept": kept}

    def error(system: SystemName, dataset: str) -> float:
        return mean("smcir", dataset, "mae", system, unit=1)

    def diagnosis(prefix: str, system: SystemName, condition: str) -> list[float]:
        """Of each data set, the mean over seeds and the modalities that the detector watches."""
        values = []
        for dataset in datasets:
            found = measured("smcir", dataset)
            found = found[(found["method"] == system[0]) & (found["variant"] == system[1])]
            found = found[found["metric"].str.startswith(prefix) & (found["condition"] == condition)]
            values.append(float(found["value"].mean()))
        return values

    def room(dataset: str) -> str:
        """What SMCIR gains from audio and video where nothing is missing."""
        part = measured("smcir", dataset)
        ours, text = (score(part, dataset, s, "mae", ["complete"]) for s in (own, ("text alone", "")))
        found = paired(ours, text, "mae")
        return f"{found.mean:+.3f} ± {found.half:.3f}"

    def finds(system: SystemName) -> str:
        return _listed(f"{f1:.2f}" for f1 in diagnosis("diagnosis_f1_", system, "patterns(keep=text)"))

    return {
        "finds": finds(own),
        "finds_released": finds(released),
        "finds_corrected": finds(corrected),
        "room": _listed(room(dataset) for dataset in datasets),
        "false": _listed(f"{100 * share:.0f}" for share in diagnosis("diagnosed_", own, "complete")),
        **{name: error(system, "mosi_bclstm") for name, system in systems.items()},
        **{f"made_{name}": error(system, "synthetic mosi") for name, system in {**systems, "oracle": ORACLE}.items()},
    }


def _listed(items: Iterable[str]) -> str:
    *most, last = items
    return f"{', '.join(most)} and {last}"


if __name__ == "__main__":
    write()
