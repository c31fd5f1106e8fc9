"""Who misses what: protocols (their names: `mmlib.missing.protocols`), sets of modalities, a test of randomness."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmlib.missing.context import warning
from mmlib.missing.grammar import parse
from mmlib.missing.patterns import Observed, all_patterns, availability, pattern_names, within
from mmlib.missing.protocols import Protocol, summary, uniforms

if TYPE_CHECKING:
    from mmlib.missing.mcar import dependence


def __getattr__(name: str) -> Any:
    """`dependence`, imported when it is first asked for: it needs scikit-learn, which takes as long to import as torch."""
    if name == "dependence":
        return import_module("mmlib.missing.mcar").dependence
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
