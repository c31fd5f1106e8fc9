import sys

from tests.bench import simc, umdf

BENCHES = {"simc": simc.main, "umdf": umdf.main}
for name in sys.argv[1:] or BENCHES:
    BENCHES[name]()
