"""Save a trained system as two files, model.safetensors and model.json, and load it again. Neither file contains code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmlib import arrays, files
from mmlib.data.checks import check_modalities
from mmlib.data.dataset import Batch, Dataset, Scaling
from mmlib.models.base import System
from mmlib.models.catalogue import MODELS
from mmlib.names import DataError

WEIGHTS, CARD = "model.safetensors", "model.json"
_FORMAT = 1
_FIELDS = ("format", "system", "arguments", "dims", "task", "outputs", "label_names", "limit", "metrics", "versions")
_MAX_CARD_BYTES = 2**24
_SCALING = ("mean", "factor", "spread")  # parts of a Scaling with one tensor per modality
_RENAMED = {"clip": "clamp"}  # arguments whose name has changed since 0.1.0
# Arguments and tensors of 0.1.0 that had a meaning in training alone.
_DROPPED = {"admc": ("balanced", "weight"), "umdf": ("error",)}


@dataclass(frozen=True)
class Saved:
    """A trained system together with the standardisation of its training data.

    card: the content of model.json: system, arguments, dims, task, label_names, columns, metrics, data, versions.
    """

    system: System
    scaling: Scaling
    card: Mapping[str, Any]

    @torch.no_grad()
    def predict(self, X: Any, observed: Mapping[str, Any] | None = None, batch_size: int = 256) -> Float[Tensor, "n C"]:
        """Probabilities of the classes or labels (n, C), or values (n, 1) on the scale of the training targets.

        X: what `Dataset.from_arrays` takes: modality -> (n, T, d), or (n, d) for vectors, of numpy, pandas, torch or lists, as
        they are before standardisation; the table from whose columns the training data were made; or a Dataset, scaled as
        for training or not at all. NaN is missing, and so is a modality that is left out. observed: modality -> (n, T),
        True where a frame exists, in place of that rule.
        The noise of a stochastic system depends on the position of a row in X. A system of dialogues needs a Dataset with
        the columns group and order, whose rows it reads all at once, whatever batch_size.

        Raises DataError for an unknown modality, a wrong shape, NaN in part of a frame, or a row without any modality.
        """
        batch = self._of_dataset(X) if isinstance(X, Dataset) else self._of_arrays(X, observed)
        chunks = torch.arange(len(batch)).split(len(batch) if self.system.needs_dialogues else batch_size)
        self.system.eval()
        logits = torch.cat([self.system.predict(batch.select(rows)).logits for rows in chunks])
        if self.card["task"] == "regression":
            mean, deviation = self.card.get("target", (0.0, 1.0))
            return logits * deviation + mean
        return logits.softmax(1) if self.card["task"] == "multiclass" else logits.sigmoid()

    def labels(self, X: Any, observed: Mapping[str, Any] | None = None, batch_size: int = 256) -> np.ndarray:
        """The class (n,) with the highest probability; for several labels the names above one half, as lists (n,); values (n,).

        Arguments and errors as of `predict`.
        """
        values, names = self.predict(X, observed, batch_size).numpy(), np.array(self.card["label_names"])
        if self.card["task"] == "regression":
            return values[:, 0]
        if self.card["task"] == "multiclass":
            return names[values.argmax(1)]
        lists = np.empty(len(values), dtype=object)
        lists[:] = [names[row > 0.5].tolist() for row in values]
        return lists

    def _of_dataset(self, data: Dataset) -> Batch:
        check_modalities(tuple(self.system.dims), data.modalities, data.where)
        features, observed = ({m: x.cpu() for m, x in part.items()} for part in (data.features, data.observed))
        if data.scaling is not None and not self._is_own(data.scaling, data.modalities):
            raise DataError(
                f"{data.where}: is scaled otherwise than the training data; give the rows as they were read"
            )
        batch = self._batch({m: x.float() for m, x in features.items()}, observed, scaled=data.scaling is not None)
        return replace(batch, place=None if data.places is None else data.places.cpu())

    def _is_own(self, other: Scaling, modalities: tuple[str, ...]) -> bool:
        pairs = [(getattr(self.scaling, part), getattr(other, part)) for part in _SCALING]
        same = all(
            (m in own) == (m in theirs) and (m not in own or torch.equal(own[m], theirs[m].cpu()))
            for own, theirs in pairs
            for m in modalities
        )
        return same and self.scaling.limit == other.limit

    def _of_arrays(self, X: Any, observed: Mapping[str, Any] | None) -> Batch:
        is_table = not arrays.by_name(X) and getattr(getattr(X, "columns", None), "nlevels", 1) == 1
        if is_table and not self.card.get("columns"):
            raise DataError("X: is a table; this model was trained with modalities by name, give {modality: array}")
        if arrays.by_name(X):
            check_modalities(tuple(self.system.dims), tuple(X), "features")
            check_modalities(tuple(X), tuple(observed or ()), "observed")
        features, masks = arrays.parts_of(X, self.card["columns"] if is_table else None, observed)
        if "columns" not in self.card and not observed:  # saved by 0.1.0, for which a frame of zeros was missing
            masks = {m: frames & (features[m] != 0).any(2) for m, frames in masks.items()}
        arrays.warn_of_zeros(features, masks)
        return self._batch(features, masks, scaled=False)

    def _batch(self, features: dict[str, Tensor], observed: dict[str, Tensor], scaled: bool) -> Batch:
        n, x, masks = len(next(iter(features.values()))), {}, {}
        for m, d in self.system.dims.items():
            v = features.get(m, torch.zeros(n, 1, d))
            if v.shape[2] != d:
                raise DataError(f"features {m!r}: shape {tuple(v.shape)}, expected ({n}, frames, {d}) or ({n}, {d})")
            masks[m] = observed.get(m, torch.zeros(n, 1, dtype=torch.bool))
            x[m] = v if scaled else self.scaling(m, v, masks[m])
        if len(rows := (~torch.stack([f.any(1) for f in masks.values()]).any(0)).nonzero()):
            raise DataError(f"row {int(rows[0])} has no modality at all; give it at least one or remove the row")
        return Batch(x, masks, None, torch.arange(n))


def trained(
    system: System, data: Dataset, metrics: Mapping[str, float] | None = None, target: tuple[float, float] = (0.0, 1.0)
) -> Saved:
    """The system with the scaling that its training saw, as `load` gives it after `save`.

    target: mean and deviation of the values before the targets of a regression were standardised.
    """
    # What `fit` saw decides: `data` may be the same rows before or after they were standardised.
    scaling = getattr(system, "fitted_to", data.scaling) or Scaling({}, {})
    names = [name for name, kind in MODELS.items() if type(system) is kind]
    if not names:
        raise DataError(f"{type(system).__name__} is not in mmlib.models.MODELS, so it could not be loaded again")
    card = {
        "format": _FORMAT,
        "system": names[0],
        "arguments": {k: v for k, v in system.arguments.items() if k != "seed"},
        "dims": system.dims,
        "task": system.task,
        "outputs": system.outputs,
        "label_names": list(data.label_names),
        "columns": data.provenance.get("columns", {}),
        "limit": None if scaling.limit == float("inf") else scaling.limit,
        "target": list(target),
        "metrics": dict(metrics or {}),
        "versions": {"mmlib": version("mmlib"), "torch": torch.__version__},
        "data": {"name": data.name, "fingerprint": data.fingerprint, "features": data.provenance.get("features")},
    }
    return Saved(system, scaling, card)


def save(
    system: System,
    data: Dataset,
    folder: Path | str,
    metrics: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a trained system into a folder, completely or not at all, and returns the folder.

    The scaling of the data that the system was trained with is saved, too, so that `Saved.predict` takes rows as they are
    read. data: what it was trained with, for names and labels. metrics: stored in the card.
    overwrite: whether a model that the folder has already is replaced.

    Raises DataError if the folder already contains a model (without overwrite) or the system is not one of MODELS.
    """
    return write(trained(system, data, metrics), folder, overwrite)


def write(model: Saved, folder: Path | str, overwrite: bool = False) -> Path:
    """`save` for a model of `trained`."""
    folder, system = Path(folder), model.system
    if (folder / CARD).exists() and not overwrite:
        raise DataError(f"{folder / CARD} exists; choose another folder, or overwrite=True")
    tensors = {f"system.{k}": v for k, v in system.state_dict().items()}
    for part in _SCALING:
        tensors |= {f"{part}.{m}": v for m, v in getattr(model.scaling, part).items() if m in system.dims}
    with files.replacing(folder / WEIGHTS) as temporary:
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary)
        (folder / CARD).unlink(missing_ok=True)  # an interrupted write leaves no model of two halves
    files.write(folder / CARD, json.dumps(model.card, indent=1))  # last, because a folder without a card is no model
    return folder


def load(folder: Path | str) -> Saved:
    """Loads a system that `save` wrote, in evaluation mode.

    Raises DataError for an incomplete model, an unknown system, or arguments or tensors that do not fit the system.
    """
    folder = Path(folder)
    card = _card(folder / CARD)
    if card["system"] not in MODELS:
        raise DataError(f"{folder / CARD}: system {card['system']!r} is not one of {', '.join(MODELS)}")
    dropped = _DROPPED.get(card["system"], ())
    arguments = {_RENAMED.get(k, k): v for k, v in card["arguments"].items() if k not in dropped}
    try:
        system = MODELS[card["system"]](card["dims"], card["task"], card["outputs"], **arguments).eval()
    except (TypeError, ValueError, RuntimeError) as e:
        raise DataError(f"{folder / CARD}: field 'arguments' does not fit {card['system']}: {e}") from e
    tensors = _tensors(folder / WEIGHTS)
    try:
        state = {k.removeprefix("system."): v for k, v in tensors.items() if k.startswith("system.")}
        system.load_state_dict({k: v for k, v in state.items() if k not in dropped})
    except RuntimeError as e:
        raise DataError(f"{folder / WEIGHTS}: does not fit {folder / CARD}: {e}") from e
    parts = {p: {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{p}.")} for p in _SCALING}
    scaling = Scaling(**parts, limit=float("inf") if card["limit"] is None else card["limit"])
    for m, v in (item for part in parts.values() for item in part.items()):
        if v.shape != (card["dims"].get(m),):
            raise DataError(f"{folder / WEIGHTS}: scaling of {m!r} has shape {tuple(v.shape)}, not its width")
    return Saved(system, scaling, card)


def _card(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            raise DataError(f"{path}: {path.stat().st_size} bytes are too many for a model card")
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise DataError(f"{path}: cannot be opened ({e.strerror}); a saved model is a folder with {CARD}") from e
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as e:
        raise DataError(f"{path}: is not JSON ({e}); copy the folder again") from e
    missing = [f for f in _FIELDS if f not in card] if isinstance(card, dict) else _FIELDS
    if missing:
        raise DataError(f"{path}: field {missing[0]!r} is missing; copy the folder again")
    if card["format"] != _FORMAT:
        raise DataError(f"{path}: format {card['format']!r} is not {_FORMAT}; it needs another version of mmlib")
    dims = card["dims"]
    if not isinstance(dims, dict) or not all(type(d) is int and 0 < d < 2**20 for d in dims.values()):
        raise DataError(f"{path}: field 'dims' is {dims!r}, expected the width of each modality")
    if not isinstance(card["arguments"], dict) or type(card["outputs"]) is not int or card["outputs"] < 1:
        raise DataError(f"{path}: 'arguments' or 'outputs' has the wrong type; copy the folder again")
    if card["limit"] is not None and not isinstance(card["limit"], int | float):
        raise DataError(f"{path}: field 'limit' is {card['limit']!r}, expected a number or null")
    return card


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}
    except (OSError, SafetensorError) as e:
        raise DataError(f"{path}: is not a complete safetensors file ({e}); copy the folder again") from e
