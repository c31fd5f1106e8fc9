import sys

from tests.bench import admc, simc, smcir, umdf

BENCHES = {"simc": simc.main, "umdf": umdf.main, "admc": admc.main, "smcir": smcir.main}
for name in sys.argv[1:] or BENCHES:
    BENCHES[name]()
