"""A trained system as two files that outlive the run: model.safetensors and model.json. Nothing in them is code."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmlib.data.checks import DataError, check_modalities
from mmlib.data.dataset import Batch, Dataset, Scaling
from mmlib.models.base import System
from mmlib.models.catalogue import MODELS

WEIGHTS, CARD = "model.safetensors", "model.json"
_FORMAT = 1
_FIELDS = ("format", "system", "arguments", "dims", "task", "outputs", "label_names", "limit", "metrics", "versions")
_SIZE = 2**24  # of the card, which is read whole

_RENAMED = {"clip": "clamp"}  # arguments of 0.1.0 that have another name now


@dataclass(frozen=True)
class Saved:
    """A system with what it takes to predict new rows as it predicted those it was tested on.

    card: model.json as written: system, arguments, dims, task, label_names, metrics, features, versions.
    """

    system: System
    scaling: Scaling
    card: Mapping[str, Any]

    @torch.no_grad()
    def predict(
        self,
        features: Mapping[str, Float[Tensor, "n *T d"]],
        observed: Mapping[str, Bool[Tensor, "n _"]] | None = None,
        batch_size: int = 256,
    ) -> Float[Tensor, "n C"]:
        """Probabilities of classes or labels (n, C), or values (n, 1), on the scale of the training targets.

        features: per modality (n, T, d), or (n, d) for vectors, as in the data it was trained on, before standardisation.
        A modality that no row has may be left out. observed: per modality (n, T), True where a frame is there; without them
        every frame that is not zero throughout. A stochastic system draws noise that belongs to the place of a row here.

        Raises DataError for an unknown modality, a wrong shape, NaN where something is there, or a row without anything.
        """
        x, seen = self._checked(dict(features), dict(observed or {}))
        index = torch.arange(len(next(iter(x.values()))))
        parts = []
        for rows in index.split(batch_size):
            batch = Batch({m: v[rows] for m, v in x.items()}, {m: f[rows] for m, f in seen.items()}, None, rows)
            parts.append(self.system.predict(batch).logits)
        logits = torch.cat(parts)
        task = self.card["task"]
        if task == "regression":
            return logits
        return logits.softmax(1) if task == "multiclass" else logits.sigmoid()

    def _checked(self, features: dict[str, Tensor], observed: dict[str, Tensor]) -> tuple[dict, dict]:
        dims = self.system.dims
        check_modalities(tuple(dims), tuple(features), "features")
        check_modalities(tuple(features), tuple(observed), "observed")
        if not features or 0 in (sizes := {len(v) for v in features.values()}) or len(sizes) > 1:
            raise DataError(
                f"features: { ({m: len(v) for m, v in features.items()}) } rows; every modality needs as many"
            )
        n, x, seen = sizes.pop(), {}, {}
        for m, d in dims.items():
            v = features.get(m, torch.zeros(n, 1, d))
            v = v[:, None] if v.ndim == 2 else v
            if v.ndim != 3 or v.shape[2] != d:
                raise DataError(
                    f"features {m!r}: have shape {tuple(v.shape)}, expected ({n}, frames, {d}) or ({n}, {d})"
                )
            there = observed.get(m, (v != 0).any(2))
            if there.shape != v.shape[:2]:
                raise DataError(f"observed {m!r}: have shape {tuple(there.shape)}, expected {tuple(v.shape[:2])}")
            v = v.float().masked_fill(~there[..., None], 0)
            bad = (~v.isfinite()).flatten(1).any(1)
            if bool(bad.any()):
                row = int(bad.nonzero()[0])
                raise DataError(f"features {m!r}, row {row}: NaN or infinite; mark the frame as missing or repair it")
            x[m], seen[m] = self.scaling(m, v, there), there
        nothing = ~torch.stack([f.any(1) for f in seen.values()]).any(0)
        if bool(nothing.any()):
            raise DataError(
                f"row {int(nothing.nonzero()[0])} has no modality at all; there is nothing to predict it from"
            )
        return x, seen


def save(
    system: System,
    data: Dataset,
    folder: Path | str,
    scaling: Scaling | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Writes a trained system into a new folder, whole or not at all.

    data: what it was trained on. scaling: what `data` was standardised with, if it was. metrics: to be kept beside it.

    Raises DataError where a model is there already or the system is not one of MODELS.
    """
    folder = Path(folder)
    names = [name for name, kind in MODELS.items() if type(system) is kind]
    if not names:
        raise DataError(f"{type(system).__name__} is not in mmlib.models.MODELS, so it could not be found again")
    if (folder / CARD).exists():
        raise DataError(f"{folder / CARD} exists; a saved model is never overwritten, choose another folder")
    scaling = scaling or Scaling({}, {})
    card = {
        "format": _FORMAT,
        "system": names[0],
        "arguments": {k: v for k, v in system.arguments.items() if k != "seed"},
        "dims": system.dims,
        "task": system.task,
        "outputs": system.outputs,
        "label_names": list(data.label_names),
        "limit": None if scaling.limit == float("inf") else scaling.limit,
        "metrics": dict(metrics or {}),
        "versions": {"mmlib": version("mmlib"), "torch": torch.__version__},
        "data": {"name": data.name, "fingerprint": data.fingerprint, "features": data.provenance.get("features")},
    }
    tensors = {f"system.{k}": v for k, v in system.state_dict().items()}
    tensors |= {f"mean.{m}": v for m, v in scaling.mean.items()} | {f"factor.{m}": v for m, v in scaling.factor.items()}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{WEIGHTS}.{os.getpid()}"
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary)
    os.replace(temporary, folder / WEIGHTS)
    temporary = folder / f"{CARD}.{os.getpid()}"
    temporary.write_text(json.dumps(card, indent=1))
    os.replace(temporary, folder / CARD)  # last: a folder without it is no model
    return folder


def load(folder: Path | str) -> Saved:
    """A system that `save` wrote, ready to predict.

    Raises DataError for a folder without a whole model, a system that this version does not know, arguments or tensors that
    do not fit it.
    """
    folder = Path(folder)
    card = _card(folder / CARD)
    if card["system"] not in MODELS:
        raise DataError(f"{folder / CARD}: system {card['system']!r} is not one of {', '.join(MODELS)}")
    arguments = {_RENAMED.get(k, k): v for k, v in card["arguments"].items()}
    try:
        system = MODELS[card["system"]](card["dims"], card["task"], card["outputs"], **arguments).eval()
    except (TypeError, ValueError, RuntimeError) as e:
        raise DataError(f"{folder / CARD}: field 'arguments' does not fit {card['system']}: {e}") from e
    tensors = _tensors(folder / WEIGHTS)
    try:
        system.load_state_dict({k.removeprefix("system."): v for k, v in tensors.items() if k.startswith("system.")})
    except RuntimeError as e:
        raise DataError(f"{folder / WEIGHTS}: does not fit {folder / CARD}: {e}") from e
    parts = ({k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{p}.")} for p in ("mean", "factor"))
    scaling = Scaling(*parts, float("inf") if card["limit"] is None else card["limit"])
    for m, v in [*scaling.mean.items(), *scaling.factor.items()]:
        if v.shape != (card["dims"].get(m),):
            raise DataError(f"{folder / WEIGHTS}: scaling of {m!r} has shape {tuple(v.shape)}, not its width")
    return Saved(system, scaling, card)


def _card(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _SIZE:
            raise DataError(f"{path}: {path.stat().st_size} bytes are too many for a model card")
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise DataError(f"{path}: cannot be opened ({e.strerror}); a saved model is a folder with {CARD}") from e
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as e:
        raise DataError(f"{path}: is not JSON ({e}); copy the folder again") from e
    lacking = [f for f in _FIELDS if f not in card] if isinstance(card, dict) else _FIELDS
    if lacking:
        raise DataError(f"{path}: field {lacking[0]!r} is missing; copy the folder again")
    if card["format"] != _FORMAT:
        raise DataError(f"{path}: format {card['format']!r} is not {_FORMAT}; it needs another version of mmlib")
    dims = card["dims"]
    if not isinstance(dims, dict) or not all(type(d) is int and 0 < d < 2**20 for d in dims.values()):
        raise DataError(f"{path}: field 'dims' is {dims!r}, expected the width of each modality")
    if not isinstance(card["arguments"], dict) or type(card["outputs"]) is not int or card["outputs"] < 1:
        raise DataError(f"{path}: 'arguments' or 'outputs' is of the wrong kind; copy the folder again")
    if card["limit"] is not None and not isinstance(card["limit"], int | float):
        raise DataError(f"{path}: field 'limit' is {card['limit']!r}, expected a number or null")
    return card


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}
    except (OSError, SafetensorError) as e:
        raise DataError(f"{path}: is not a whole safetensors file ({e}); copy the folder again") from e
