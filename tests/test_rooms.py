"""The house: a module imports only from rooms below its own, and never in a circle."""

import ast
from pathlib import Path

import mmlib

ROOMS = (
    "files", "hub", "names", "corpora", "cost", "arrays", "describe", "data", "synthetic", "metrics", "missing", "releases",
    "models", "encode", "show", "training", "estimators", "federated", "runs", "report",
)  # fmt: skip
CORE = ("data", "missing", "metrics.py", "training", "models/base.py", "models/layers.py")
LIBRARY = Path(mmlib.__file__).parent
MODULES = {
    ".".join(("mmlib", *path.relative_to(LIBRARY).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(LIBRARY.rglob("*.py"))
}


def imported(module: str) -> set[str]:
    """The modules of mmlib that a module imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.split(".")[0] == "mmlib":
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                names.add(inside if inside in MODULES else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name in MODULES}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{module}: a relative import"
    return names - {"mmlib"}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_is_named():
    assert {room(m) for m in MODULES if m not in ("mmlib", "mmlib.__main__")} == set(ROOMS)


def test_no_module_imports_from_a_room_above_its_own():
    for module in MODULES.keys() - {"mmlib", "mmlib.__main__"}:
        for other in imported(module):
            assert ROOMS.index(room(other)) <= ROOMS.index(room(module)), f"{module} imports {other}, which lies above"


def test_no_circle():
    below: dict[str, set[str]] = {m: imported(m) for m in MODULES if MODULES[m].name != "__main__.py"}
    while below:
        free = {m for m, others in below.items() if not others & (set(below) - {m})}
        assert free, f"these modules import each other in a circle: {sorted(below)}"
        below = {m: others for m, others in below.items() if m not in free}


def test_the_circle_test_sees_packages():
    """An import of a name from a package is an import of the package, whose own imports count, too."""
    assert "mmlib.missing" in imported("mmlib.training.fit") and "mmlib.missing.grammar" in imported("mmlib.missing")


def test_the_core_stays_small():
    paths = [p for part in CORE for p in ((LIBRARY / part).rglob("*.py") if "." not in part else [LIBRARY / part])]
    assert sum(len(p.read_text().splitlines()) for p in paths) < 3000
