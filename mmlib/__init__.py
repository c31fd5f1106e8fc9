"""Multimodal learning with missing modalities: four papers' methods, their baselines, and data whose optimum is known.

    import mmlib

    data = mmlib.Dataset.from_arrays({"image": X_image, "text": X_text}, y).standardised()
    system = mmlib.MODELS["fill"].for_data(data, dropout=True)
    mmlib.fit(system, data, "patterns")
    mmlib.evaluate(system, data, "available(text)")
    mmlib.save(system, data, "my_model")

`python -m mmlib` lists the commands, `mmlib.models.table()` the systems.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, and for `runs.imports`, which follows imports; at run time they come late
    from mmlib.data import DataError, Dataset, read, write
    from mmlib.estimators import MissingModalityClassifier, MissingModalityRegressor
    from mmlib.models import MODELS, save
    from mmlib.models import load as load_model
    from mmlib.releases import load as load_release
    from mmlib.training import evaluate, fit, predict, tune

__version__ = version("mmlib")

_ROOMS = (
    "data", "encode", "estimators", "federated", "metrics", "missing", "models", "releases", "report", "runs", "show",
    "synthetic", "training",
)  # fmt: skip
_NAMES = {
    "Dataset": "data", "DataError": "data", "read": "data", "write": "data",
    "MODELS": "models", "save": "models", "load_model": "models",
    "fit": "training", "tune": "training", "predict": "training", "evaluate": "training",
    "MissingModalityClassifier": "estimators", "MissingModalityRegressor": "estimators",
    "load_release": "releases",
}  # fmt: skip
_EXTRAS = {"show": "notebooks", "report": "notebooks", "runs": "runs", "encode": "encode"}
_ELSEWHERE = {"load_model": "load", "load_release": "load"}


def __getattr__(name: str) -> Any:
    """A room or a name of it, imported when it is first asked for: torch alone takes a second."""
    if name in _ROOMS:
        try:
            return import_module(f"mmlib.{name}")
        except ModuleNotFoundError as e:
            if name not in _EXTRAS or (e.name or "").startswith("mmlib"):
                raise
            raise ImportError(f"mmlib.{name} needs {e.name}: pip install 'mmlib[{_EXTRAS[name]}]'") from e
    if name in _NAMES:
        return getattr(import_module(f"mmlib.{_NAMES[name]}"), _ELSEWHERE.get(name, name))
    raise AttributeError(f"mmlib has no {name!r}; it has {', '.join(__dir__())}")


def __dir__() -> list[str]:
    return sorted({*_ROOMS, *_NAMES, "__version__"})
