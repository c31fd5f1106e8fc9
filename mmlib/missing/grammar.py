"""Read the name of a protocol: `parse("rate(0.3, lose=1)")`. The table of all names is in `mmlib.missing.protocols`."""

import re
from dataclasses import MISSING, fields

from mmlib.missing import protocols
from mmlib.names import DataError

KINDS = {
    "complete": protocols.Complete, "available": protocols.Available, "frames": protocols.Frames,
    "rate": protocols.Rate, "slots": protocols.Slots, "patterns": protocols.Patterns,
    "mar": protocols.Dependent, "mnar": protocols.Dependent,
}  # fmt: skip
EXAMPLES = (
    "complete, available(text), complex_20_40_40, 100_image_20_text, frames(0.3), rate(0.3), "
    "rates(text=0.1, audio=0.6), slots(0.5), patterns, mar(text, given=image, rate=0.5), "
    "mnar(text, given=target, rate=0.5)"
)
_NUMBER, _WORD = r"(\d+(?:\.\d+)?)", r"([a-zA-Z]\w*?)"
_SIMC = re.compile(rf"(?:complex_{_NUMBER}_{_NUMBER}_{_NUMBER}|{_NUMBER}_{_WORD}_{_NUMBER}_{_WORD})(_bernoulli)?")


def parse(name: str) -> protocols.Protocol:
    """The protocol that a name describes.

    Raises DataError for an unknown kind, an unknown or missing argument, or percentages that do not sum to 100.
    """
    first, then, second = name.rpartition(" then ")
    if then:
        parts = parse(first), parse(second)
        return protocols.Then(*parts, complete_training=any(part.complete_training for part in parts))
    call = re.fullmatch(r"\s*([\w.]+)\s*(?:\((.*)\))?\s*", name)
    if not call:
        raise DataError(f"protocol {name!r} cannot be read; write a name such as {EXAMPLES}")
    kind, inside = call.groups(default="")
    parts = [part.strip() for part in inside.split(",") if part.strip()]
    words = [part for part in parts if "=" not in part]
    named = {key.strip(): value.strip() for key, _, value in (part.partition("=") for part in parts if "=" in part)}
    if len(words) + len(named) < len(parts):
        raise DataError(f"protocol {name!r}: an argument is given twice")
    if simc := _SIMC.fullmatch(kind):
        factory, arguments, settable = protocols.Fractions, _fractions(simc), ["complete_training"]
        if words:
            raise DataError(f"protocol {name!r}: {kind} takes no argument {words[0]!r}")
    elif kind == "rates":
        factory, settable = protocols.Rates, ["complete_training"]
        if words:
            raise DataError(f"protocol {name!r}: no modality for {words[0]!r}; write rates(text=0.1, audio=0.6)")
        modalities = [key for key in named if key not in settable]
        arguments = {"rates": tuple((m, _typed(name, m, float, named.pop(m))) for m in modalities)}
    elif kind in KINDS:
        factory = KINDS[kind]
        settable = sorted(f.name for f in fields(factory))
        arguments = _positional(name, factory, words)
    else:
        raise DataError(f"protocol {name!r}: unknown; write a name such as {EXAMPLES}")
    for key in named:
        if key not in settable or key in arguments:
            raise DataError(f"protocol {name!r}: unknown argument {key!r}; {kind} takes {', '.join(settable)}")
    arguments |= named
    for f in fields(factory):
        if f.default is MISSING and f.name not in arguments:
            raise DataError(f"protocol {name!r}: argument {f.name!r} is missing")
        if f.type in (float, int, bool) and isinstance(arguments.get(f.name), str):
            arguments[f.name] = _typed(name, f.name, f.type, arguments[f.name])
    protocol = factory(**arguments)
    if not simc and protocol.kind != kind:
        raise DataError(f"protocol {name!r}: given={protocol.given} is {protocol.kind}, not {kind}")
    return protocol


def _fractions(name: re.Match) -> dict:
    *three, a, first, b, second, bernoulli = name.groups()
    arguments = {"name": name[0], "bernoulli": bernoulli is not None}
    if not first:
        return arguments | {"percent": tuple(map(float, three))}
    a, b = float(a), float(b)
    if max(a, b) != 100:
        remedy = "else it is open which rows have both; write complex_<both>_<first only>_<second only>"
        raise DataError(f"protocol {name[0]!r}: one of the two modalities must be at 100, {remedy}")
    return arguments | {"percent": (min(a, b), 100 - b, 100 - a), "named": (first, second)}


def _positional(name: str, factory: type[protocols.Protocol], words: list[str]) -> dict:
    if factory is protocols.Available:
        if not words:
            raise DataError(f"protocol {name!r}: name at least one modality")
        return {"modalities": tuple(words)}
    order = [f.name for f in fields(factory) if not f.kw_only]
    if len(words) > len(order):
        raise DataError(f"protocol {name!r}: takes {len(order)} arguments, got {len(words)}")
    return dict(zip(order, words))


def _typed(name: str, argument: str, kind: type, text: str) -> float | int | bool:
    try:
        value = {"true": True, "false": False}[text] if kind is bool else float(text)
        if kind is int and not value.is_integer():
            raise ValueError
    except (KeyError, ValueError):
        expected = {float: "float", int: "a whole number", bool: "true or false"}[kind]
        raise DataError(f"protocol {name!r}: argument {argument!r} is {text!r}, expected {expected}") from None
    return kind(value)
