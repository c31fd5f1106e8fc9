"""python -m tests.bench [SUITE ...]: measures, prints one table, and writes its lines to data/results/speed.csv."""

import sys

import torch

from tests.bench import admc, encode, mmsa, runs, scaling, simc, smcir, systems, training, umdf
from tests.bench.table import Table

SUITES = {
    "systems": systems.main,
    "scaling": scaling.main,
    "training": training.main,
    "mmsa": mmsa.main,
    "umdf": umdf.main,
    "simc": simc.main,
    "smcir": smcir.main,
    "admc": admc.main,
    "encode": encode.main,
    "runs": runs.main,
    "simc_full": simc.full,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    table = Table()
    for table.suite in sys.argv[1:] or [suite for suite in SUITES if suite != "simc_full"]:
        print(f"\n{table.suite}")
        SUITES[table.suite](table)
        table.save()
