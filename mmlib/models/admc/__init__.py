"""ADMC: the system, its diffusion, the noise of a row, stored completions, and the exact diffusion of Gaussian data."""

from mmlib.models.admc.diffusion import ADN, Attention, ConditionalADN, OfficialADN
from mmlib.models.admc.system import ADMC, MF
