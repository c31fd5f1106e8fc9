"""All claims of the four papers on one page."""

from functools import partial

import pandas as pd

from mmlib.report.claims.admc import ADMC, _ahead_everywhere, _comparable, _start_50, _two_missing, _weighted_accuracy
from mmlib.report.claims.simc import _beats_zeros, _f_micro, _f_samples, _near_zero, _overlap
from mmlib.report.claims.smcir import (
    _detects,
    _first_of_four,
    _full_modal,
    _low_entropy,
    _reconstruction,
    _shares,
    _smcir_without,
    _three_indicators,
)
from mmlib.report.claims.umdf import CLIPS, UMDF, _complete_rivals, _complete_rows, _language, _slowly, _without
from mmlib.report.claims.verdicts import SIMPLE, Claim, gains
from mmlib.report.rows import COMPLETE, reported, results

# Name -> file of data/results, data/reported.
PAPERS = {"SIM-C": "simc", "UMDF": "umdf", "ADMC": "admc", "SMCIR": "smcir"}


def page(paper: str | None = None) -> pd.DataFrame:
    """One line per claim: paper, claim, where, verdict, evidence.

    paper: one of PAPERS, by default all. Raises ValueError for another name, MissingRows where a judge lacks numbers.
    """
    if paper is not None and paper not in PAPERS:
        raise ValueError(f"no paper {paper!r}; the papers are {', '.join(PAPERS)}")
    lines = []
    for name in [paper] if paper else PAPERS:
        ours, printed = results(PAPERS[name]), reported(PAPERS[name])
        for claim in CLAIMS:
            if claim.paper == name:
                lines.append((name, claim.text, claim.where, *claim.judge(ours, printed)))
    return pd.DataFrame(lines, columns=["paper", "claim", "where", "verdict", "evidence"])


CLAIMS = (
    Claim(
        "SIM-C", "Abstract; Table 2; Section 5",
        "With a modality missing next to nothing is lost: under 1 % relative error on average, others lose 11 to 30 %.",
        _near_zero,
    ),
    Claim(
        "SIM-C", "Table 1; Section 4",
        "F-micro is 0.94 with everything and 0.93 under every pattern, the best by far (PmcmFL: 0.66 at most).",
        _f_micro,
    ),
    Claim(
        "SIM-C", "Table 3; Section 4",
        "With something missing F-samples is the best of the four, 0.57 to 0.60; on complete films PmcmFL leads.",
        _f_samples,
    ),
    Claim(
        "SIM-C", "Section 1; Section 4",
        "Zeros in place of a missing modality disrupt what was learned; a simulated embedding makes up for it.",
        _beats_zeros,
    ),
    Claim(
        "SIM-C", "Figure 1; Section 4; Section 5",
        "Imputed embeddings align with real ones: they mix on a t-SNE map, which confirms that they are faithful.",
        _overlap,
    ),
    Claim(
        "UMDF", "Abstract; Table 1; Table 2",
        "One network is robust under all six sets of available modalities (average F1 75.56 on MOSI).",
        partial(gains, a=UMDF, b=SIMPLE, datasets=CLIPS, shown=("synthetic mosi",)),
    ),
    Claim(
        "UMDF", "Table 3; Figure 5; Ablation Studies",
        "Feature distillation helps: without L_fea the average F1 on MOSI falls from 75.56 to 73.50.",
        _without("w/o L_fea"),
    ),
    Claim(
        "UMDF", "Table 3; Figure 5; Ablation Studies",
        "Logits distillation helps: without L_logits the average F1 on MOSI falls from 75.56 to 73.88.",
        _without("w/o L_logits"),
    ),
    Claim(
        "UMDF", "Table 3; Figure 5; Ablation Studies",
        "MCIM helps: with self-attention in place of crossmodal attention the average F1 on MOSI falls to 74.39.",
        _without("w/o MCIM"),
    ),
    Claim(
        "UMDF", "Table 3; Figure 5; Ablation Studies",
        "DFIM helps: with a concatenation in its place the average F1 on MOSI falls to 74.87.",
        _without("w/o DFIM"),
    ),
    Claim(
        "UMDF", "Table 1; Comparison with State-of-the-Art Methods",
        "Language is the strongest modality: it says most about sentiment.",
        _language,
    ),
    Claim(
        "UMDF", "Figure 3; Figure 4; Comparison with State-of-the-Art Methods",
        "As more frames are missing performance falls, and UMDF's falls the least.",
        _slowly,
    ),
    Claim(
        "UMDF", "Abstract",
        "The framework significantly improves sentiment analysis, with modalities missing and on complete clips.",
        _complete_rows,
    ),
    Claim(
        "UMDF", "Table 1; Table 2; Comparison with State-of-the-Art Methods",
        "On complete clips UMDF outperforms MCTN, TransM, SMIL and GCNet on all data sets.",
        _complete_rivals,
    ),
    Claim(
        "ADMC", "Abstract; Table 1; Table 2; Section 5.2",
        "ADMC is ahead of all earlier systems in every scenario, on average by 6.5 % (IEMOCAP) and 9.4 % (MIntRec).",
        _ahead_everywhere,
    ),
    Claim(
        "ADMC", "Table 1; Table 2; Section 5.4",
        "Encoders trained alone (ITFN) reduce coupling and beat joint training: 68.7 against 66.5 WA on IEMOCAP.",
        partial(gains, a=ADMC, b=("ADMC", "w/o ITFN"), datasets=("iemocap",)),
    ),
    Claim(
        "ADMC", "Table 1; Table 2; Section 5.4",
        "The features that ADN generates help: with zeros in their place WA on IEMOCAP falls from 68.7 to 67.4.",
        partial(
            gains, a=ADMC, b=("ADMC", "w/o ADN"), datasets=("iemocap", "mosi_bclstm"), shown=("synthetic iemocap",)
        ),
    ),
    Claim(
        "ADMC", "Table 4; Figure 3; Section 5.5; Section 5.6",
        "Starting to merge at step n = 50 is best: in most directions it generates the best features.",
        _start_50,
    ),
    Claim(
        "ADMC", "Table 4; Section 5.6",
        "Classified by themselves, generated features do about as well as the modality that they stand for.",
        _comparable,
    ),
    Claim(
        "ADMC", "Table 1; Section 5.2",
        "ADMC works when two modalities are missing, where jointly trained networks drop sharply.",
        _two_missing,
    ),
    Claim(
        "ADMC", "Table 5; Section 5.7",
        "On complete clips MMER's generated features add to the real ones: UA 79.5 against 78.1 on IEMOCAP.",
        partial(
            gains, a=("MMER", ""), b=("Use_ITFN", ""), datasets=("iemocap", "mosi_bclstm"), shown=("synthetic iemocap",),
            conditions=COMPLETE,
        ),
    ),
    Claim(
        "ADMC", "Section 4.3; Equation 7",
        "WA as defined is an accuracy that gives rare classes more weight, UA the mean accuracy of the classes.",
        _weighted_accuracy,
    ),
    Claim(
        "SMCIR", "Abstract; Introduction; Equation 7",
        "DMFD detects missingness per sample, without labels or prior rules.",
        _detects,
    ),
    Claim(
        "SMCIR", "Dynamic Multi-feature Fusion Detector; Equation 1; Equation 2",
        "Low entropy means a missing modality.",
        _low_entropy,
    ),
    Claim(
        "SMCIR", "Table 4; Ablation Study",
        "Each indicator contributes: entropy, mutual information and similarity together (HMS) perform best.",
        _three_indicators,
    ),
    Claim(
        "SMCIR", "Figure 3",
        "What the detector finds in a data set is the missing rate of its audio and video.",
        _shares,
    ),
    Claim(
        "SMCIR", "Equation 28; Loss Function",
        "Generation recovers the missing modality: L_simse makes what is generated resemble the real features.",
        _reconstruction,
    ),
    Claim(
        "SMCIR", "Table 3; Ablation Study",
        "DMFD helps the prediction with modalities missing.",
        _smcir_without("w/o DMFD"),
    ),
    Claim(
        "SMCIR", "Table 3; Ablation Study",
        "MSSE helps the prediction with modalities missing.",
        _smcir_without("w/o MSSE"),
    ),
    Claim(
        "SMCIR", "Table 3; Ablation Study",
        "CMCG is essential: completing the missing modality helps the prediction.",
        _smcir_without("w/o CMCG"),
    ),
    Claim(
        "SMCIR", "Table 2; Implementation Details; Comparison to State-of-the-art Methods",
        "SMCIR has the best F1 under {L}, {L, A} and {L, V} of systems trained with the same setup.",
        _first_of_four,
    ),
    Claim(
        "SMCIR", "Abstract; Table 1; Comparison to State-of-the-art Methods",
        "On complete clips SMCIR outperforms full-modal systems, on MOSI in particular.",
        _full_modal,
    ),
)  # fmt: skip
