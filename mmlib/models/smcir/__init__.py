"""SMCIR: the system, its detector of missing modalities, and a language model as its text encoder."""

from mmlib.models.smcir.detector import (
    DMFD,
    below,
    count_information,
    histogram_entropy,
    matrix_similarity,
    mutual_information,
    norm_entropy,
    similarity,
)
from mmlib.models.smcir.system import CMCG, MSSE, SMCIR, Align, Gamma, reconstruction_loss

__all__ = [
    "CMCG", "DMFD", "MSSE", "SMCIR", "Align", "Gamma", "below", "count_information", "histogram_entropy",
    "matrix_similarity", "mutual_information", "norm_entropy", "reconstruction_loss", "similarity",
]  # fmt: skip
