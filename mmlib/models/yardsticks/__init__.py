"""What every method is compared with: the oracle on synthetic data, and baselines that do not model missingness."""

from mmlib.models.yardsticks.oracle import Oracle
from mmlib.models.yardsticks.trivial import AllZeros, Fill, Prior, Unimodal

__all__ = ["AllZeros", "Fill", "Oracle", "Prior", "Unimodal"]
