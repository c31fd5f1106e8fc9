"""python -m mmlib: the commands, and what is there."""

from mmlib import __version__

COMMANDS = {
    "python -m mmlib.encode MANIFEST.csv --out FILE.npz": "features from texts, pictures and sounds",
    "python -m mmlib.releases": "public releases of features, and where to get them",
    "python -m mmlib.runs STUDY.yaml": "the runs of a study: notebooks with many parameters and seeds",
    "python -m mmlib.models": "the systems: what each takes, needs and costs",
}


def main() -> None:
    width = max(map(len, COMMANDS))
    print(f"mmlib {__version__}", *(f"  {command:{width}}  {text}" for command, text in COMMANDS.items()), sep="\n")
    print("Each command explains its options with --help. In Python: import mmlib; help(mmlib).")


if __name__ == "__main__":
    main()
