"""Names of tasks, splits and columns, suggestions for a misspelt name, and DataError."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

TASKS = ("regression", "multiclass", "multilabel", "multibinary")
PRIMARY = {"regression": "mae", "multiclass": "ua", "multilabel": "f1_micro", "multibinary": "f1_mean"}
"""Per task the metric that is reported first; `metrics.better` knows whether high or low values win."""
SPLITS = ("train", "valid", "test")
COLUMN_KINDS = {"split": "U", "group": "U", "order": "i", "speaker": "U", "fold": "i"}
"""Columns of a data set beside its ids, and their kind: text or whole numbers."""
_HABITS = {
    "val": "valid", "validation": "valid", "dev": "valid", "training": "train", "testing": "test",
    "learning_rate": "lr", "n_epochs": "epochs", "max_epochs": "epochs", "bs": "batch_size", "batchsize": "batch_size",
    "classification": "multiclass", "binary": "multiclass", "random_state": "seed", "video": "vision", "visual": "vision",
}  # fmt: skip
"""What other tools call a thing -> what it is called here."""


class DataError(ValueError):
    """Data cannot be used as they are. The message names the file, the field, the row and the remedy."""


def suggest(name: str, names: Iterable[str]) -> str:
    """ "; did you mean 'valid'?" for a name that is near one of `names` or is called so in other tools, else nothing."""
    names = [str(n) for n in names]
    habit = _HABITS.get(name.lower(), name)
    near = [n for n in (habit, f"{habit}s") if n in names] or difflib.get_close_matches(name, names, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raises TypeError for a keyword that a function or class does not have, with the one that is near."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name in arguments:
        if name not in parameters:
            have = ", ".join(p for p in parameters if p != "self")
            near = suggest(name, parameters)
            raise TypeError(f"{function.__name__}() has no argument {name!r}{near or ';'} it has {have}")


Function = TypeVar("Function", bound=Callable[..., Any])


def suggesting(function: Function) -> Function:
    """The function, which says of an unknown keyword which one was meant: people know learning_rate, val and the like."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_arguments(function, kwargs)
        return function(*args, **kwargs)

    return checked
