"""The names of protocols: `parse` reads them."""

import re
from dataclasses import MISSING, fields

from mmlib.data.checks import DataError
from mmlib.missing.protocols import (
    Available,
    Complete,
    Dependent,
    Fractions,
    Frames,
    Patterns,
    Protocol,
    Rate,
    Slots,
    Then,
)

KINDS = {
    "complete": Complete, "available": Available, "frames": Frames, "rate": Rate, "slots": Slots, "patterns": Patterns,
    "mar": Dependent, "mnar": Dependent,
}  # fmt: skip


def parse(name: str) -> Protocol:
    """The protocol that a name in this module's grammar describes.

    Raises DataError for an unknown kind, an unknown or missing argument, or fractions that do not sum to 1.
    """
    head, then, last = name.rpartition(" then ")
    if then:
        first, second = parse(head), parse(last)
        return Then(first, second, complete_training=first.complete_training or second.complete_training)
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", name)
    if not match:
        raise DataError(f"protocol {name!r} cannot be read; write a name such as {', '.join(_examples())}")
    kind, inside = match.groups()
    positional, named = [], {}
    for part in filter(None, (p.strip() for p in (inside or "").split(","))):
        key, equals, value = part.partition("=")
        if equals:
            named[key.strip()] = value.strip()
        else:
            positional.append(part)
    if fractions := _fractions(kind):
        kind, arguments = "fractions", fractions
        factory = Fractions
    elif kind in KINDS:
        factory = KINDS[kind]
        arguments = _arguments(name, factory, positional)
        positional = []
    else:
        raise DataError(f"protocol {name!r}: unknown; write a name such as {', '.join(_examples())}")
    known = {f.name for f in fields(factory)} if factory is not Fractions else {"complete_training"}
    for key in named:
        if key not in known or key in arguments:
            raise DataError(f"protocol {name!r}: unknown argument {key!r}; {kind} takes {', '.join(sorted(known))}")
    if positional:
        raise DataError(f"protocol {name!r}: {kind} takes no argument {positional[0]!r}")
    arguments |= named
    missing = [f.name for f in fields(factory) if f.default is MISSING and f.name not in arguments]
    if missing:
        raise DataError(f"protocol {name!r}: argument {missing[0]!r} is missing")
    for f in fields(factory):
        if f.type in (float, int, bool) and isinstance(arguments.get(f.name), str):
            arguments[f.name] = _typed(name, f.name, f.type, arguments[f.name])
    protocol = factory(**arguments)
    if factory is Dependent and str(protocol).split("(")[0] != kind:
        raise DataError(f"protocol {name!r}: given={protocol.given} is {str(protocol).split('(')[0]}, not {kind}")
    return protocol


def _fractions(kind: str) -> dict | None:
    base, bernoulli = kind.removesuffix("_bernoulli"), kind.endswith("_bernoulli")
    number = r"(\d+(?:\.\d+)?)"
    if match := re.fullmatch(rf"complex_{number}_{number}_{number}", base):
        return {"name": kind, "percent": tuple(map(float, match.groups())), "bernoulli": bernoulli}
    if match := re.fullmatch(rf"{number}_([a-zA-Z]\w*?)_{number}_([a-zA-Z]\w*)", base):
        a, first, b, second = match.groups()
        a, b = float(a), float(b)
        if max(a, b) != 100:
            raise DataError(
                f"protocol {kind!r}: one of the two modalities must be at 100, else it is open which rows have both; "
                "write complex_<both>_<first only>_<second only>"
            )
        return {
            "name": kind,
            "percent": (min(a, b), 100 - b, 100 - a),
            "named": (first, second),
            "bernoulli": bernoulli,
        }
    return None


def _arguments(name: str, factory: type[Protocol], positional: list) -> dict:
    if factory is Available:
        if not positional:
            raise DataError(f"protocol {name!r}: name at least one modality")
        return {"modalities": tuple(positional)}
    order = [f.name for f in fields(factory) if f.name != "complete_training"]
    if len(positional) > len(order):
        raise DataError(f"protocol {name!r}: takes {len(order)} arguments, got {len(positional)}")
    return dict(zip(order, positional))


def _typed(name: str, argument: str, kind: type, text: str) -> float | int | bool:
    if kind is bool and text in ("true", "false"):
        return text == "true"
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or kind is bool:
        raise DataError(f"protocol {name!r}: argument {argument!r} is {text!r}, expected {kind.__name__}")
    if kind is int and value != int(value):
        raise DataError(f"protocol {name!r}: argument {argument!r} is {text!r}, expected a whole number")
    return kind(value)


def _examples() -> list[str]:
    return ["complete", "available(text)", "complex_20_40_40", "100_image_20_text", "frames(0.3)", "rate(0.3)",
            "slots(0.5)", "patterns", "mar(text, given=image, rate=0.5)", "mnar(text, given=target, rate=0.5)"]  # fmt: skip
