"""Public releases of features: one reader each, `load` for all, `fetch` for where to get them."""

from mmlib.releases.fetch import fetch
from mmlib.releases.load import load
