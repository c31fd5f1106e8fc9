"""SMCIR: the system, its detector and its generator of missing modalities, and a language model as its text encoder."""

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
from mmlib.models.smcir.generator import CMCG, MSSE, Align, Gamma
from mmlib.models.smcir.system import SMCIR, reconstruction_loss
