import sys

from tests.bench import admc, simc, umdf

BENCHES = {"simc": simc.main, "umdf": umdf.main, "admc": admc.main}
for name in sys.argv[1:] or BENCHES:
    BENCHES[name]()
