"""Which code a notebook's numbers come from: its imports of mmlib, followed through the syntax trees.

An import of a name leads to the module where the name is defined, and so do `room.name` and `mmlib.name`. Rooms that show or
judge numbers (`show`, `report`) are not followed. `MODELS` leads to the systems that the notebook names as text, as in
`MODELS["fill"]`.
"""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

_WITHOUT_NUMBERS = ("show", "report")
_CATALOGUE, _MODELS = "mmlib.models.catalogue", "MODELS"


@dataclass(frozen=True)
class Code:
    """What counts of a piece of code.

    bare: its text without comments, docstrings and layout; equal text computes equal numbers.
    imports: (module, name, what is used of the name), such as ("mmlib", "runs", {"Record"}).
    texts: its string constants, which may name systems. registry: key -> name, its first dict of names.
    """

    bare: str
    imports: tuple[tuple[str, str, frozenset[str]], ...]
    texts: frozenset[str]
    registry: dict[str, str]


def reached(library: Path, notebook: Code, values: Collection[str] = ()) -> dict[str, str]:
    """Module -> its bare code, for all modules of the folder `library` that a notebook's numbers depend on.

    values: text that names systems beside the code, such as values of parameters; where neither names any, all count.
    """
    graph = _Graph(library, notebook.texts.union(values))
    graph.follow(notebook)
    return {module: graph.code(module).bare for module in sorted(graph.modules)}


@lru_cache(maxsize=256)
def read_code(source: str) -> Code:
    """Raises SyntaxError for a source that is not Python."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    dicts = [n for n in nodes if isinstance(n, ast.Dict) and all(isinstance(v, ast.Name) for v in n.values)]
    named = [d for d in dicts if d.keys and all(isinstance(k, ast.Constant) for k in d.keys)]
    registry = {k.value: v.id for d in named[:1] for k, v in zip(d.keys, d.values)}
    imports = tuple(_imports(nodes))
    texts = frozenset(_texts(tree))
    return Code(ast.unparse(_Bare().visit(tree)), imports, texts, registry)


def _texts(node: ast.AST) -> Iterator[str]:
    """String constants, but for what is said to a room that only shows or judges: `report.results("umdf")`."""
    call = node.func if isinstance(node, ast.Call) else None
    if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id in _WITHOUT_NUMBERS:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from _texts(child)


def _imports(nodes: list[ast.AST]) -> Iterator[tuple[str, str, frozenset[str]]]:
    used: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.setdefault(node.value.id, set()).add(node.attr)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mmlib":
            for alias in node.names:
                yield node.module, alias.name, frozenset(used.get(alias.asname or alias.name, ()))
        elif isinstance(node, ast.Import):
            for alias in (alias for alias in node.names if alias.name.split(".")[0] == "mmlib"):
                package, _, name = alias.name.rpartition(".")
                if alias.asname and package:  # import mmlib.training as t
                    yield package, name, frozenset(used.get(alias.asname, ()))
                else:  # the name mmlib itself
                    for attribute in sorted(used.get(alias.asname or "mmlib", ())):
                        yield "mmlib", attribute, frozenset()


class _Bare(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


class _Graph:
    def __init__(self, library: Path, texts: frozenset[str]):
        self.library, self.texts = library, texts
        self.modules: set[str] = set()
        # A walk asks for the same files again and again, and a study makes a walk for each run.
        self._path, self.code = cache(self._path), cache(self.code)

    def follow(self, code: Code) -> None:
        for module, name, used in code.imports:
            self._enter(module, name, used)

    def code(self, module: str) -> Code:
        path = self._path(module)
        stat = path.stat()
        return _read(path, stat.st_size, stat.st_mtime_ns)

    def _enter(self, module: str, name: str, used: Collection[str] = ()) -> None:
        inside = f"{module}.{name}"
        if inside.split(".")[1] in _WITHOUT_NUMBERS:
            return
        exports = self._exports(module)
        if name in exports:
            self._enter(exports[name], name)
        elif (module, name) == (_CATALOGUE, _MODELS):
            self._systems()
        elif not self._path(inside).exists():
            self._add(module)
        elif exported := self._exports(inside):
            for part in used & set(exported) or exported:
                self._enter(inside, part)
        else:
            self._add(inside)

    def _add(self, module: str) -> None:
        if module not in self.modules:
            self.modules.add(module)
            self.follow(self.code(module))

    def _systems(self) -> None:
        catalogue = self.code(_CATALOGUE)
        modules = {name: module for module, name, _ in catalogue.imports}
        systems = catalogue.registry
        for key in self.texts & set(systems) or systems:
            self._enter(modules[systems[key]], systems[key])

    def _exports(self, module: str) -> dict[str, str]:
        """Of a package: name -> the module that it comes from."""
        if self._path(module).name != "__init__.py":
            return {}
        return {name: origin for origin, name, _ in self.code(module).imports}

    def _path(self, module: str) -> Path:
        path = self.library.joinpath(*module.split(".")[1:])
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@lru_cache(maxsize=512)
def _read(path: Path, _size: int, _modified: int) -> Code:
    return read_code(path.read_text())
