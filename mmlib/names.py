"""The names of tasks and splits, what is near a misspelt name, and the error of all data that cannot be used."""

import difflib
from collections.abc import Iterable

TASKS = ("regression", "multiclass", "multilabel", "multibinary")
SPLITS = ("train", "valid", "test")
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
