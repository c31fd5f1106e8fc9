"""The published tables: their metrics, their systems, and which of our rows are compared with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.report.paper_metrics import relative_error
from mmlib.report.rows import CORPORA, FOLDS, PEER_FORMS, Rows, SystemName, matched, measured, reported, results

TITLES = {"simc": "SIM-C", "umdf": "UMDF", "admc": "ADMC", "smcir": "SMCIR"}
"""The papers: name in data/results and data/reported -> name in print."""
DROPOUT = "zero fill + modality dropout"
"""The baseline against which methods are compared: modalities hidden in training, zeros for missing ones at test."""
FRAME_DROPOUT = "zero fill + modality and frame dropout"
"""The same, with frames lost in training, too: the baseline of a method that loses them in training, as UMDF."""
BASELINES = (
    "zero fill", DROPOUT, FRAME_DROPOUT, "zero fill, text kept", "text alone", "audio alone", "vision alone", "image alone",
    "prior", "coin",
    "all zeros",
)  # fmt: skip
"""Methods that do not model missing modalities: mmlib/models/yardsticks/baselines.py."""
UNTRAINED = ("prior", "coin", "all zeros", "oracle")
"""Rows without training: chance levels, and the best possible prediction."""
DATASETS = {
    "simc": ("mmimdb_subset", "mmimdb_genres", "sarcasm", "synthetic mmimdb"),
    "umdf": ("mosi_words", "mosi_mpnet", "mosi_bclstm", "iemocap_mpnet, one vs rest", "synthetic reviews"),
    "admc": ("iemocap", FOLDS, "iemocap, binary", "mintrec_mpnet", "avdigits", "mosi_bclstm", "synthetic iemocap"),
    "smcir": ("mosi_mpnet", "mosi_bclstm", "mmmo", "iemocap_mpnet", "synthetic reviews"),
}
"""Our data sets for each paper, of `rows.CORPORA`."""
OWN: Mapping[str, SystemName] = {paper: (title, "") for paper, title in TITLES.items()}
"""Each paper's method with its equations as printed."""
CONTROLS: Mapping[SystemName, SystemName] = {
    **{("SIM-C", variant): ("SIM-C", "zeros") for variant in ("", "two_stage")},
    **{("UMDF", variant): ("UMDF", "one view") for variant in ("", "any views")},
    ("ADMC", ""): ("ADMC", "w/o ADN"),
    ("MMER", ""): ("Use_ITFN", ""),
    **{("SMCIR", variant): ("SMCIR", "w/o CMCG") for variant in ("", "corrected", "official")},
}
"""A system that imputes -> its control: the same network, trained alike, with zeros in place of what it imputes. UMDF's has
one view, modality dropout and no distillation. Where nothing is rebuilt, SMCIR as printed and corrected are one system. MMER
is ADMC on complete clips with generated features beside the real ones."""
PEER_CONTROLS = {
    "AE": "AE, zeros", "CRA": "AE, zeros",
    **{name: f"{name}, zeros" for name in ("MMIN", "IF-MMIN", "ShaSpec", "M3Care", "PmcmFL-central", "SMIL", "MPLMM")},
    "TATE": "TATE, w/o guidance", "GCNet": "GCNet, w/o reconstruction", "EMT-DLFR": "EMT + dropout",
    "MFMB-Net": "MFMB-Net, w/o restoration",
}  # fmt: skip
"""A compared system of notebooks/compared.ipynb that imputes, or learns from what it hid -> the same network without."""
READINGS: Mapping[SystemName, tuple[SystemName, ...]] = {
    ("SIM-C", ""): (("SIM-C", ""), ("SIM-C", "two_stage")),
    ("UMDF", ""): (("UMDF", ""), ("UMDF", "any views")),
    ("SMCIR", ""): (("SMCIR", ""), ("SMCIR", "corrected")),
}
"""A method -> its readings, where its gain depends on what its paper leaves open or contradicts. Validation chooses."""


def not_run(paper: str, dataset: str) -> str:
    """Why there is no number of a data set: the command that makes its rows; empty where there are rows."""
    try:
        measured(paper, dataset)
    except KeyError:
        return f"not run: python -m mmlib.runs notebooks/studies/{paper}_{CORPORA[dataset].study}.yaml"
    return ""


def with_peers(paper: str, rows: Rows) -> Rows:
    """These rows of a paper, and below them those of the systems with which it compares, on the same data and features.

    `data`, the fingerprint of what was trained on, must be equal, too: another scaling of the same features is another budget.
    The peers' studies are data/results/compared_*.csv. Of SIM-C's the condition without holes gets its paper's name here.
    """
    peers = results("compared")
    forms = [name + form for name in reported(paper)["method"].unique() for form in PEER_FORMS]
    forms += [PEER_CONTROLS[name] for name in forms if name in PEER_CONTROLS]
    peers = peers[peers["method"].isin(forms) & (peers["variant"] == "")].merge(
        rows[["dataset", "features", "data"]].drop_duplicates()
    )
    if paper == "simc":
        whole = {"complete": SIMC_CONFIGURATIONS[0]}
        peers = matched(peers.replace({"condition": whole, "protocol": whole}))
    return pd.concat([rows, peers], ignore_index=True) if len(peers) else rows


@dataclass(frozen=True)
class Metric:
    """A metric of a published table, and which of ours it is.

    printed: its name in data/reported. ours: its name in data/results. meaning: what it counts, for captions.
    unit: multiplier from our fraction to the table's unit. digits: decimals of our numbers. lower: lower is better.
    of_others: the metric in which the other methods are presumably printed, where that is another one.
    """

    printed: str
    ours: str
    meaning: str
    unit: float = 100
    digits: int = 1
    lower: bool = False
    of_others: "Metric | None" = None


@dataclass(frozen=True)
class Table:
    """A published table: what it shows, and which of our systems belong to its lines.

    lines: printed method -> our systems, the paper's own method first. corpora: our data set -> the published one.
    extra: systems of ours that the table does not have. columns: 'condition', or 'metric' where everything is available.
    own: number of the table that prints the paper's own method, where this table does not. ablates: its lines are compared with
    the first, which says nothing alone. derive: from our scores of a
    metric (see `rows.scores`) to those of the table. not_run: (what we have no rows for, why).
    """

    shows: str
    metrics: tuple[Metric, ...]
    lines: Mapping[str, tuple[SystemName, ...]]
    corpora: Mapping[str, str]
    extra: tuple[SystemName, ...] = ()
    columns: str = "condition"
    own: str = ""
    ablates: bool = False
    derive: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    not_run: tuple[tuple[str, str], ...] = ()


def _relative_errors(scores: pd.DataFrame) -> pd.DataFrame:
    """SIM-C's Error (%) of a run against the run of its system and seed on complete films; nan where nothing is lost."""
    complete, *missing = SIMC_CONFIGURATIONS
    scores = scores.reindex(columns=list(SIMC_CONFIGURATIONS))
    pairs = {c: zip(scores[complete], scores[c]) for c in missing}
    return pd.DataFrame({c: [relative_error(*pair) for pair in pairs[c]] for c in missing}, scores.index)


def _variants(method: str, *variants: str) -> tuple[SystemName, ...]:
    return tuple((method, v) for v in variants)


_MAE = Metric("mae", "mae", "mean absolute error", unit=1, digits=3, lower=True)
_CORR = Metric("corr", "corr", "Pearson correlation", unit=1, digits=3)
_WA = Metric("wa", "accuracy", "WA in %: accuracy, as the released code has it (Eq 7 as printed can exceed 1)")
_UA = Metric("ua", "ua", "UA in %: mean recall of the classes")
_SENTIMENT = (
    _MAE,
    _CORR,
    Metric("acc2_non0", "acc2_non0", "accuracy in %, negative against positive without neutral clips"),
    Metric("f1_non0", "f1_non0", "weighted F1 in %, on the same clips"),
    Metric("acc2_has0", "acc2_has0", "accuracy in %, negative against the rest"),
    Metric("f1_has0", "f1_has0", "weighted F1 in %, on the same clips"),
)
_MICRO = "micro-F1, as presumably the other methods are printed: predicting no genre scores more than they do in cell accuracy"
_LOSS = "the loss of {} relative to the remaining score, run by run, over the runs that lost something"
_UMDF_F1 = Metric("f1", "f1_non0", "F1 in %, negative against positive, weighted, without neutral clips as in MulT")
EMOTIONS = {"happy": 1, "sad": 3, "angry": 0, "neutral": 2}  # the order of the archive's labels is alphabetical
_SIMC = {"SIM-C": _variants("SIM-C", "", "two_stage")}
_SIMC_FILMS = dict.fromkeys(("mmimdb_subset", "mmimdb_genres"), "MM-IMDb")
_UMDF = {"UMDF": _variants("UMDF", "")}
_UMDF_ABLATIONS = {f"UMDF {v}": _variants("UMDF", v) for v in ("w/o L_fea", "w/o L_logits", "w/o MCIM", "w/o DFIM")}
_UMDF_EXTRA = _variants("UMDF", "any views", "one view", "w/o distillation", "complete rows only")
_MOSI_OF_UMDF = dict.fromkeys(("mosi_words", "mosi_mpnet", "mosi_bclstm", "synthetic reviews"), "MOSI")
_ADMC = {"MMCR": _variants("ADMC", ""), **{f"MMCR {v}": _variants("ADMC", v) for v in ("w/o ADN", "w/o ITFN")}}
_UTTERANCES = {"iemocap": "IEMOCAP", FOLDS: "IEMOCAP", "synthetic iemocap": "IEMOCAP"}
_SMCIR = {"SMCIR": _variants("SMCIR", "", "corrected", "official")}
_MOSI_OF_SMCIR = dict.fromkeys(("mosi_mpnet", "mosi_bclstm", "mmmo", "synthetic reviews"), "MOSI")
_NO_CLIP = (("MM-IMDb with CLIP embeddings and 27 genres", "no CLIP embeddings of the films at hand"),)
_NO_MOSEI = ("MOSEI", "no features of its clips at hand")
_NO_BERT = ("MOSI with a fine-tuned BERT", "smcir_paper.yaml has it; it needs a GPU and the token ids of the release")
_NO_MINTREC = (("MIntRec with audio and video", "no audio or video features of its scenes at hand"),)

TABLES: dict[tuple[str, str], Table] = {
    ("simc", "1"): Table(
        "F-micro under missing posters and plots",
        (Metric(
            "f_micro_as_printed", "cell_accuracy", "cell accuracy, which the released code calls F-micro", unit=1, digits=3,
            of_others=Metric("f_micro_as_printed", "f1_micro", _MICRO, unit=1, digits=3),
        ),),
        _SIMC, _SIMC_FILMS, not_run=_NO_CLIP,
    ),
    ("simc", "2"): Table(
        "degradation against complete films",
        (Metric(
            "relative_error_percent", "cell_accuracy", f"relative error in %: {_LOSS.format('cell accuracy')}",
            digits=2, lower=True,
            of_others=Metric(
                "relative_error_percent", "f1_micro", f"relative error in %: {_LOSS.format(_MICRO)}", digits=2, lower=True
            ),
        ),),
        _SIMC, _SIMC_FILMS, derive=_relative_errors, not_run=_NO_CLIP,
    ),
    ("simc", "3"): Table(
        "F-samples under missing posters and plots",
        (Metric("f1_samples", "f1_samples", "F1 of each film's genres, averaged over films", unit=1, digits=3),),
        _SIMC, _SIMC_FILMS, not_run=_NO_CLIP,
    ),
    ("umdf", "1"): Table(
        "sets of available modalities, MOSI and MOSEI", (_MAE, _UMDF_F1), _UMDF, _MOSI_OF_UMDF, _UMDF_EXTRA,
        not_run=(_NO_MOSEI,),
    ),
    ("umdf", "2"): Table(
        "sets of available modalities, IEMOCAP",
        tuple(
            Metric(f"f1_{name}", f"f1_{i}", f"weighted F1 in % of the yes/no problem {name}, as in MulT")
            for name, i in EMOTIONS.items()
        ),
        _UMDF, {"iemocap_mpnet, one vs rest": "IEMOCAP"}, _UMDF_EXTRA,
    ),
    ("umdf", "3"): Table(
        "ablations, MOSI (the line UMDF is Table 1's)",
        (_UMDF_F1,), _UMDF | _UMDF_ABLATIONS, _MOSI_OF_UMDF, _UMDF_EXTRA, own="1", ablates=True,
    ),
    ("admc", "1"): Table(
        "sets of available modalities, IEMOCAP", (_WA, _UA), _ADMC, _UTTERANCES, _variants("ADMC", "conditional")
    ),
    ("admc", "2"): Table(
        "sets of available modalities, MIntRec", (_WA, _UA), _ADMC, {"mintrec_mpnet": "MIntRec"}, not_run=_NO_MINTREC
    ),
    ("admc", "3"): Table(
        "two classes under missing rates, IEMOCAP",
        (
            Metric("accuracy", "accuracy", "accuracy in %"),
            *(
                Metric("f1", f"f1_{kind}", f"{kind} F1 in % (the table does not say which F1 it has)")
                for kind in ("macro", "weighted")
            ),
        ),
        {"ADMC": _variants("ADMC", "")}, {"iemocap, binary": "IEMOCAP binary"},
    ),
    ("admc", "4"): Table(
        "classifying generated features, IEMOCAP",
        (_WA, _UA),
        {f"ADMC, n={n}": _variants("ADMC", f"head, n={n}", f"probe, n={n}") for n in (30, 50, 80)},
        {"iemocap": "IEMOCAP", "synthetic iemocap": "IEMOCAP"},
        _variants("ADMC", *(f"{by}, {how}" for how in ("n=200", "n=1000", "conditional") for by in ("head", "probe"))),
    ),
    ("admc", "5"): Table(
        "everything available, IEMOCAP and MIntRec",
        (_WA, _UA),
        {name: ((name, ""),) for name in ("MMER", "Use_ITFN", "Jointly_training")},
        _UTTERANCES, columns="metric", not_run=_NO_MINTREC,
    ),
    ("smcir", "1"): Table(
        "everything available, MOSI and MOSEI",
        _SENTIMENT, _SMCIR, _MOSI_OF_SMCIR, columns="metric", not_run=(_NO_BERT, _NO_MOSEI),
    ),
    ("smcir", "2"): Table(
        "audio and video missing, MOSI and MOSEI",
        tuple(
            Metric("f1", name, f"F1 in %, weighted, {reading} (the table does not say; it fits neither F1 of Table 1)")
            for name, reading in (("f1_non0", "without neutral clips"), ("f1_has0", "negative against the rest"))
        ),
        _SMCIR, _MOSI_OF_SMCIR, not_run=(_NO_MOSEI,),
    ),
    ("smcir", "3"): Table(
        "ablations, everything available (the printed check marks leave open which line is which; this is our reading)",
        (_MAE, _CORR),
        {**_SMCIR, "SMCIR w/o CMCG": _variants("SMCIR", "w/o CMCG"),
         "SMCIR w/o DMFD": _variants("SMCIR", "w/o DMFD", "corrected, w/o DMFD"),
         "SMCIR w/o MSSE": _variants("SMCIR", "w/o MSSE", "corrected, w/o MSSE")},
        _MOSI_OF_SMCIR, columns="metric", ablates=True, not_run=(_NO_MOSEI,),
    ),
    ("smcir", "4"): Table(
        "indicators of the detector, everything available, MOSEI",
        _SENTIMENT,
        {"SMCIR, HMS": _variants("SMCIR", ""),
         **{f"SMCIR, {v}": _variants("SMCIR", v) for v in ("H", "M", "S", "HM", "MS")}},
        {"synthetic reviews": "MOSEI"}, _variants("SMCIR", "HS"), columns="metric", ablates=True, not_run=(_NO_MOSEI,),
    ),
    ("smcir", "5"): Table(
        "modalities that the detector watches, everything available",
        _SENTIMENT,
        {"SMCIR, DMFD on vision and audio": _variants("SMCIR", ""),
         **{f"SMCIR, DMFD on {m}": _variants("SMCIR", f"DMFD on {m}") for m in ("audio", "vision")}},
        {"synthetic reviews": "MOSI"}, columns="metric", ablates=True, not_run=(_NO_MOSEI,),
    ),
}  # fmt: skip
"""Every results table of the four papers, by paper and number as printed."""
