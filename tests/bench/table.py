"""The one table of `make bench`: a line per measurement, shown at once and kept in data/results/speed.csv."""

import math
import os
import platform
import subprocess
from dataclasses import asdict, dataclass

import pandas as pd
import torch

from mmlib import files

FILE = files.home() / "data" / "results" / "speed.csv"


@dataclass
class Line:
    """One measurement. ratio: `value` over that of `against`, both of this run; below 1 is less time, or memory, than that.

    wanted: what the ratio, or else the value, should be.
    """

    suite: str
    subject: str
    size: str
    measure: str
    value: float
    unit: str
    against: str = ""
    ratio: float = math.nan
    wanted: str = ""


class Table:
    """The lines of one call. A suite that runs again replaces its own lines in the file and no others."""

    def __init__(self):
        self.lines: list[Line] = []
        self.suite = ""

    def add(self, subject: str, size: str, measure: str, value: float, unit: str, **more) -> None:
        line = Line(self.suite, subject, size, measure, value, unit, **more)
        self.lines.append(line)
        ratio = "" if math.isnan(line.ratio) else f"{line.ratio:.3g} of {line.against}"
        wanted = f"wanted {line.wanted}" if line.wanted else ""
        parts = (f"{subject:24}", f"{size:34}", f"{measure:26}", f"{value:10.4g} {unit}", ratio, wanted)
        print("  ".join(parts).rstrip(), flush=True)

    def save(self) -> None:
        new = pd.DataFrame([asdict(line) for line in self.lines])
        new["command"] = [f"python -m tests.bench {suite}" for suite in new["suite"]]
        for name, value in machine().items():
            new[name] = value
        if FILE.exists():
            old = pd.read_csv(FILE, keep_default_na=False)
            new = pd.concat([old[~old["suite"].isin(set(new["suite"]))], new])
        text = new.sort_values("suite", kind="stable").to_csv(index=False, float_format="%.8g")
        files.write(FILE, text)


def machine() -> dict[str, str]:
    """The processor and its number of cores, the versions of Python and torch, and the commit."""
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=files.home(), capture_output=True, text=True
    )
    return {
        "machine": f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, one thread",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "commit": commit.stdout.strip(),
    }
