"""python -m mmlib: the commands. python -m mmlib copy FOLDER: the notebooks and studies, to work on."""

import shutil
import sys
from pathlib import Path

from mmlib import __version__, files

COMMANDS = {
    "python -m mmlib copy FOLDER": "the notebooks and studies, to work on outside a checkout",
    "python -m mmlib.encode MANIFEST.csv --out FILE.npz": "features from texts, pictures and sounds",
    "python -m mmlib.releases": "public releases of features, and where to get them",
    "python -m mmlib.runs STUDY.yaml": "the runs of a study: notebooks with many parameters and seeds",
    "python -m mmlib.models": "the systems: what each takes, needs and costs",
}


def main(arguments: list[str]) -> int:
    """0: done. 2: a wrong request."""
    if arguments[:1] == ["copy"] and len(arguments) == 2:
        return copy(Path(arguments[1]))
    width = max(map(len, COMMANDS))
    print(f"mmlib {__version__}", *(f"  {command:{width}}  {text}" for command, text in COMMANDS.items()), sep="\n")
    print("Each command explains its options with --help. In Python: import mmlib; help(mmlib).")
    return 0 if arguments in ([], ["-h"], ["--help"]) else 2


def copy(folder: Path) -> int:
    """Copies notebooks and studies; no file is overwritten."""
    source = files.home() / "notebooks"
    paths = [path.relative_to(source) for kind in ("*.ipynb", "studies/*") for path in sorted(source.glob(kind))]
    if there := [path for path in paths if (folder / path).exists()]:
        print(f"{folder / there[0]} exists; nothing is overwritten, choose another folder", file=sys.stderr)
        return 2
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, folder / path)
    print(f"{len(paths)} files in {folder}; next: jupyter lab {folder}")
    print(f"or: python -m mmlib.runs {folder / 'studies' / 'smoke.yaml'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
