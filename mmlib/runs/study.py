"""A study: a YAML list whose entries name a notebook, fixed parameters and a grid, expanded into runs.

- notebook: umdf.ipynb
  parameters: {archive: $MMLIB_DATA/mosi.npz, epochs: 20}
  grid: {seed: [0, 1, 2, 3, 4]}
"""

import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mmlib.runs.errors import RunError
from mmlib.runs.execution import Run
from mmlib.runs.parameters import check_parameters, completed
from mmlib.runs.rows import ROOT
from mmlib.runs.versions import Version

_FILES = (".npz", ".csv", ".pkl", ".h5", ".hdf5", ".json")  # a value with such an ending is a file
_KEYS = {"notebook": str, "parameters": dict, "grid": dict}


def plan(study: Path, out: Path, changes: Mapping[str, Any] | None = None, kernel: str = "python3") -> list[Run]:
    """Every run of a study, all checked before anything starts.

    out: the folder of the run folders, whose names say the point of the grid and end with a digest of everything that the
    run depends on. changes: parameters set for every entry; a value given here replaces a grid axis of that name.
    `$NAME` in a value stands for an environment variable. Paths are seen from the working directory, then from the
    study's folder; notebooks also from the folder above it and from the project's.
    Raises RunError for a file that is not a study, for unknown notebooks, parameters or keys, values of a wrong type, an
    unset variable, a missing file or kernel, and two equal runs.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    kernels = KernelSpecManager().find_kernel_specs()
    if kernel not in kernels:
        raise RunError(f"no Jupyter kernel {kernel!r} here; there are {', '.join(sorted(kernels))}")
    runs: dict[tuple[Path, str], Run] = {}
    for notebook, point, parameters in _points(study, changes or {}):
        check_parameters(notebook, parameters)
        whole = completed(notebook, parameters)
        version = Version.of(notebook, whole)
        files = {k: Path(v).stem for k, v in parameters.items() if f"content of {k}" in version.hashes}
        labels = ",".join(f"{k}={v}" for k, v in {**files, **point, **files}.items() if "/" not in str(v))
        name = re.sub(r"[^\w.=+,-]+", "_", f"{notebook.stem}-{labels}"[:120].strip("-"))
        digest = version.short({**whole, "kernel": kernel})
        if (notebook, digest) in runs:
            raise RunError(f"{study}: {notebook.name} with {parameters} is there twice; drop one")
        runs[notebook, digest] = Run(notebook, out.resolve() / f"{name}-{digest}", parameters, version, kernel)
    return list(runs.values())


def _points(study: Path, changes: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """(notebook, the values of its grid, all parameters) of each run."""
    for number, entry in enumerate(_entries(study), 1):
        where = f"{study}, entry {number}"
        if not isinstance(entry, dict) or "notebook" not in entry:
            raise RunError(f"{where}: an entry without notebook; it has {', '.join(_KEYS)}")
        if unknown := set(entry) - set(_KEYS):
            raise RunError(f"{where}: unknown key {sorted(unknown)[0]!r}; an entry has {', '.join(_KEYS)}")
        for key, kind in _KEYS.items():
            if not isinstance(entry.get(key) or kind(), kind):
                expected = "text" if kind is str else "NAME: value"
                raise RunError(f"{where}: {key} is {entry[key]!r}, it must be {expected}")
        # Beside the folder of the studies, as in the project and in what `python -m mmlib copy` makes.
        place = _found(entry["notebook"], Path(), study.parent, study.parent.parent)
        notebook = place or ROOT / "notebooks" / entry["notebook"]
        fixed = {**(entry.get("parameters") or {}), **changes}
        grid = {k: v for k, v in (entry.get("grid") or {}).items() if k not in changes}
        for axis, values in grid.items():
            if not isinstance(values, list) or not values:
                raise RunError(f"{where}: grid {axis!r} is {values!r}, it must be a list of values")
        for values in itertools.product(*grid.values()):
            point = dict(zip(grid, values))
            yield (
                notebook,
                {**point, **changes},
                {k: _located(where, k, v, study) for k, v in {**fixed, **point}.items()},
            )


def _entries(study: Path) -> list[Any]:
    try:
        entries = yaml.safe_load(study.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise RunError(f"{study} is not YAML: {e}") from None
    except OSError as e:
        raise RunError(f"no study {study}: {e.strerror}") from None
    if not isinstance(entries, list) or not entries:
        raise RunError(f"{study}: a study is a list of entries, each with {', '.join(_KEYS)}")
    return entries


def _found(path: str, *folders: Path) -> Path | None:
    """A file or folder as seen from the first of the folders that has it; a link keeps its name."""
    return next((Path(os.path.abspath(p)) for p in (folder / path for folder in folders) if p.exists()), None)


def _located(where: str, name: str, value: Any, study: Path) -> Any:
    """The value with environment variables replaced, and a path made absolute, because kernels work in another folder.

    What looks like a path: a variable or a slash in it, or the ending of a file of data.
    """
    if isinstance(value, list) and any(isinstance(v, str) and "$" in v for v in value):
        raise RunError(f"{where}: {name} is {value}; variables are replaced in plain values alone, not in lists")
    if not isinstance(value, str) or not ("$" in value or "/" in value or Path(value).suffix in _FILES):
        return value
    unset = [a or b for a, b in re.findall(r"\$(?:(\w+)|\{(\w+)\})", value) if (a or b) not in os.environ]
    if unset:
        remedy = f"set it (export {unset[0]}=FOLDER) or say --set {name}=PATH"
        raise RunError(f"{where}: {name} is {value}, and the environment has no {unset[0]}; {remedy}")
    located = os.path.expandvars(value)
    if place := _found(located, Path(), study.parent):
        return str(place)
    if located != value or Path(located).suffix in _FILES:
        raise RunError(
            f"{where}: {name} is {value}, and there is no {located} (seen from {Path.cwd()} and from the study)"
        )
    return located
