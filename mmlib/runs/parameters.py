"""What a notebook takes: names and types of its parameters cell, checked before anything runs."""

import ast
import json
import math
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmlib.names import DataError, suggest
from mmlib.runs.errors import RunError

_PROTOCOLS = ("protocol", "holes")  # parameters that hold names of protocols
_CHOICES = re.compile(r"^(\w+):.*#.*\[([^\[\]]+ \| [^\[\]]+)\]", re.M)
_TYPES = {"int": int, "float": (int, float), "str": str, "bool": bool, "list": list}


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Raises RunError for a notebook that does not exist or has no parameters, an unknown name, a value of a wrong type, a
    number that is not finite, a name that is no protocol, and one that is not among the choices of its parameter.

    Choices stand in the parameter's comment: `scaling: str = "dimension"  # what has deviation 1 [dimension | modality]`.
    A long comment goes on in the lines below. In a choice * stands for any text.
    papermill itself passes over all of these with at most a line in its log.
    """
    _check_values(str(notebook), _defaults(notebook), parameters, choices(_tagged(notebook)))


def completed(notebook: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of a run, defaults included and 1 as 1.0 where a float is expected; without out_dir, its folder.

    Two runs are the same if these are.
    """
    defaults = _defaults(notebook)
    values = {name: parameters.get(name, default) for name, (_, default) in defaults.items() if name != "out_dir"}
    return {k: float(v) if defaults[k][0] == "float" and v is not None else v for k, v in values.items()}


@lru_cache  # a study may have a thousand runs of one notebook
def choices(source: str) -> dict[str, list[str]]:
    """Name -> the values that its comment in a parameters cell allows."""
    source = re.sub(r"\n *#", " #", source)  # what goes on below joins its line
    pairs = _CHOICES.findall(source)
    return {name: [value.strip(" #") for value in values.split("|")] for name, values in pairs}


def _tagged(notebook: Path) -> str:
    tagged = [source for source, tags in code(notebook) if "parameters" in tags]
    if not tagged:
        raise RunError(f"{notebook}: no cell is tagged 'parameters'")
    return tagged[0]


def _defaults(notebook: Path) -> dict[str, tuple[str, Any]]:
    source = _tagged(notebook)
    try:
        return assignments(source)
    except (SyntaxError, ValueError, TypeError, AttributeError) as e:
        raise RunError(f"{notebook}: its parameters cell has more than lines of `name: type = literal` ({e})") from None


def code(notebook: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(source, tags) of a notebook's code cells. Raises RunError where there is no notebook."""
    try:
        return _code(notebook, notebook.stat().st_mtime_ns)
    except FileNotFoundError:
        raise RunError(f"no notebook {notebook}") from None
    except (ValueError, KeyError, TypeError) as e:
        raise RunError(f"{notebook} is not a notebook of format 4 ({type(e).__name__}: {e})") from None


@lru_cache
def _code(notebook: Path, _modified: int) -> tuple[tuple[str, tuple[str, ...]], ...]:
    # By hand: nbformat takes a second to import, in every kernel. Once a file: a study may name a notebook a thousand times.
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    return tuple(("".join(c["source"]), tuple(c["metadata"].get("tags", []))) for c in cells)


def parameters_of(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> present value of every parameter of the notebook whose `globals()` these are.

    Raises RunError where no parameters cell has run, and where papermill, started without us, has injected a name that the
    cell does not have or a value of a wrong type: papermill lets both pass.
    """
    cells = namespace.get("In", [])
    for cell, following in reversed(list(zip(cells, [*cells[1:], ""]))):
        defaults = _parameters_cell(cell)
        if defaults:
            if following.startswith("# Parameters\n"):  # as papermill marks what it injects behind the tagged cell
                injected = {name: value for name, (_, value) in assignments(following).items()}
                _check_values("this notebook", defaults, injected, choices(cell))
            return {name: namespace[name] for name in defaults}
    annotations = namespace.get("__annotations__", {})
    if annotations and not any(cells):  # nbval keeps no history of cells, and injects nothing
        return {name: namespace[name] for name in annotations}
    raise RunError("no parameters cell has run: a cell of lines `name: type = literal` alone")


def _parameters_cell(source: str) -> dict[str, tuple[str, Any]]:
    """Its assignments; empty for any other cell."""
    try:
        defaults = assignments(source)
    except (SyntaxError, ValueError, TypeError, AttributeError):
        return {}
    annotated = len(ast.parse(source).body) == len(defaults) and all(kind for kind, _ in defaults.values())
    return defaults if annotated else {}


@lru_cache
def assignments(source: str) -> dict[str, tuple[str, Any]]:
    """Name -> (annotated type, literal value) of the assignments in a parameters cell."""
    values = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign):
            values[node.target.id] = (ast.unparse(node.annotation), _literal(node.value))
        elif isinstance(node, ast.Assign):
            values[node.targets[0].id] = ("", _literal(node.value))
    return values


class _Floats(ast.NodeTransformer):
    """float('nan') and float('inf'), which papermill writes for what has no literal, as numbers."""

    def visit_Call(self, call: ast.Call) -> Any:
        match call:
            case ast.Call(ast.Name("float"), [ast.Constant(str() as text)], []):
                return ast.Constant(float(text))
        return call


def _literal(node: Any) -> Any:
    return ast.literal_eval(_Floats().visit(node))


def _check_values(
    where: str, defaults: Mapping[str, tuple[str, Any]], parameters: Mapping[str, Any], allowed: Mapping[str, list[str]]
) -> None:
    for name, value in parameters.items():
        if name not in defaults:
            near = suggest(name, defaults)
            raise RunError(f"{where}: unknown parameter {name!r}{near or ';'} it takes {', '.join(defaults)}")
        kind, default = defaults[name]
        if kind and kind not in _TYPES:
            raise RunError(f"{where}: parameter {name!r} is annotated {kind}; use {', '.join(_TYPES)}")
        expected = _TYPES.get(kind, object)
        if not isinstance(value, expected) or (isinstance(value, bool) and expected not in (bool, object)):
            raise RunError(f"{where}: parameter {name!r} is {value!r}, expected {kind}")
        if kind == "list" and value and _numbers(default) and not _numbers(value):
            raise RunError(f"{where}: parameter {name!r} is {value!r}, expected numbers (YAML writes 5.0e-4, not 5e-4)")
        for part in _parts(value):
            _check_part(f"{where}: parameter {name!r}", name, part, allowed.get(name))


def _check_part(where: str, name: str, value: Any, allowed: list[str] | None) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise RunError(f"{where} is {value}; give a finite number (JSON, in which runs are kept, has no other)")
    if allowed is not None and not any(fnmatchcase(str(value), choice) for choice in allowed):
        raise RunError(f"{where}: {value!r} is not one of {', '.join(allowed)}{suggest(str(value), allowed)}")
    if name in _PROTOCOLS and isinstance(value, str):
        from mmlib import missing  # it imports torch, and a worker has no use for that

        try:
            missing.parse(value)
        except DataError as e:
            raise RunError(f"{where}: {e}") from None


def _parts(value: Any) -> list[Any]:
    """The value, or those inside a list."""
    return [part for item in value for part in _parts(item)] if isinstance(value, list) else [value]


def _numbers(values: Any) -> bool:
    """Whether a list, or list of lists, holds numbers and nothing else; not of an empty one."""
    inside = [_numbers(v) if isinstance(v, list) else isinstance(v, (int, float)) for v in values]
    return bool(inside) and all(inside)
