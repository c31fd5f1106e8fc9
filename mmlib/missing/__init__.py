"""Who misses what: protocols (their names: `mmlib.missing.protocols`) and sets of modalities."""

from mmlib.missing.context import warning
from mmlib.missing.grammar import parse
from mmlib.missing.patterns import Observed, all_patterns, availability, pattern_names, within
from mmlib.missing.protocols import Protocol, summary, uniforms
