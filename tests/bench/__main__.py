import sys

from tests.bench import admc, encode, mmsa, runs, simc, smcir, systems, umdf

BENCHES = {
    "simc": simc.main,
    "umdf": umdf.main,
    "admc": admc.main,
    "smcir": smcir.main,
    "systems": systems.main,
    "mmsa": mmsa.main,
    "encode": encode.main,
    "runs": runs.main,
}
for name in sys.argv[1:] or BENCHES:
    BENCHES[name]()
