"""python -m mmlib.releases [NAME [FOLDER]]: the public releases of features; with a name, fetches one."""

import argparse

from mmlib.names import DataError
from mmlib.releases.fetch import fetch, releases


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mmlib.releases", description="Public releases of features.")
    parser.add_argument("name", nargs="?", help="of the list, or an address; without it the list is printed")
    parser.add_argument("folder", nargs="?", default="data", help="where the files go (default: data)")
    options = parser.parse_args()
    try:
        print(releases().to_string(index=False) if options.name is None else fetch(options.name, options.folder))
    except DataError as e:
        parser.exit(1, f"{e}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
