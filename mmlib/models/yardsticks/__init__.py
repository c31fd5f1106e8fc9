"""What every method is compared with: the oracle on synthetic data, and baselines that do not model missingness."""

from mmlib.models.yardsticks.baselines import AllZeros, Coin, Fill, Prior, Unimodal, trivial
from mmlib.models.yardsticks.oracle import Oracle
