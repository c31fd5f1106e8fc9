"""MODELS: every system under the name that studies and saved models use."""

from mmlib.models.admc.system import ADMC
from mmlib.models.base import System
from mmlib.models.clgsi import CLGSI
from mmlib.models.cra import AE, CRA
from mmlib.models.cubemlp import CubeMLP
from mmlib.models.dlf import DLF
from mmlib.models.emt import EMT
from mmlib.models.gcnet import GCNet
from mmlib.models.m3care import M3Care
from mmlib.models.mctn import MCTN
from mmlib.models.mfmb import MFMBNet
from mmlib.models.mmin import IFMMIN, MMIN
from mmlib.models.mplmm import MPLMM
from mmlib.models.mult import MulT
from mmlib.models.pmcmfl import PmcmFL
from mmlib.models.self_mm import SelfMM
from mmlib.models.shaspec import ShaSpec
from mmlib.models.simc import SIMC
from mmlib.models.smcir.system import SMCIR
from mmlib.models.smil import SMIL
from mmlib.models.tate import TATE
from mmlib.models.tetfn import TETFN
from mmlib.models.transm import TransM
from mmlib.models.umdf import UMDF
from mmlib.models.yardsticks.baselines import AllZeros, Coin, Fill, Prior, Unimodal

MODELS: dict[str, type[System]] = {
    "simc": SIMC,
    "umdf": UMDF,
    "admc": ADMC,
    "smcir": SMCIR,
    "ae": AE,
    "cra": CRA,
    "mmin": MMIN,
    "if_mmin": IFMMIN,
    "shaspec": ShaSpec,
    "m3care": M3Care,
    "tate": TATE,
    "transm": TransM,
    "mctn": MCTN,
    "pmcmfl": PmcmFL,
    "mult": MulT,
    "self_mm": SelfMM,
    "cubemlp": CubeMLP,
    "smil": SMIL,
    "gcnet": GCNet,
    "mplmm": MPLMM,
    "emt": EMT,
    "tetfn": TETFN,
    "dlf": DLF,
    "clgsi": CLGSI,
    "mfmb": MFMBNet,
    "prior": Prior,
    "coin": Coin,
    "all_zeros": AllZeros,
    "unimodal": Unimodal,
    "fill": Fill,
}
