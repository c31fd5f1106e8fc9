"""The checkpoint of `fit`: the settings that must agree, what is saved, and how it is read back.

One file, written whole or not at all. Tensors: the weights, the best weights of the stage, the validation logits of each
stage, the moments of Adam, the loss terms of the epoch and the states of the random numbers. JSON: the settings, the
position and the history. The file holds all that later steps read, so a run that was killed ends with the same weights,
bit for bit. `run` is the `_Run` of `fit`.
"""

import json
import time
from dataclasses import asdict
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmlib.files import replacing

NAME = "checkpoint.safetensors"
_POSITION = ("stage", "epoch", "step", "terms", "falls", "since")
SECONDS = 10.0  # from one checkpoint to the next: a kill loses no more, and short epochs are not spent on writing


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message names the place and the remedy."""


class Diverged(TrainingError):
    """A loss is not finite."""


def _settings(run: Any) -> dict[str, Any]:
    return {
        "system": f"{type(run.system).__module__}.{type(run.system).__qualname__}",
        "arguments": run.system.arguments,
        "data": run.data.fingerprint,
        "protocol": str(run.protocol),
        "valid_protocol": str(run.valid_protocol),
        **asdict(run.options),
    }


def is_due(run: Any) -> bool:
    """Whether `fit` has a folder and has written nothing for SECONDS."""
    return run.file is not None and time.perf_counter() - run.saved > SECONDS


def save(run: Any) -> None:
    """Writes the checkpoint, where `fit` has a folder for it."""
    if run.file is None:
        return
    tensors = {f"system.{k}": v for k, v in run.system.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in run.best.items()}
    tensors |= {f"logits.{k}": v for k, v in run.logits.items()}
    tensors |= {"log": run.log, "rng": torch.get_rng_state()}
    if run.data.device.type == "cuda":
        tensors["rng_cuda"] = torch.cuda.get_rng_state(run.data.device)
    if run.optimizer is not None:
        for i, state in run.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
    position = {name: getattr(run, name) for name in _POSITION}
    texts = {"settings": _settings(run), "position": position, "history": vars(run.history)}
    with replacing(run.file) as path:
        contents = {k: v.contiguous().clone() for k, v in tensors.items()}
        save_file(contents, path, {k: json.dumps(v) for k, v in texts.items()})
    run.saved = time.perf_counter()


def load(run: Any) -> None:
    """Puts `run` at the position of the checkpoint. Raises TrainingError for a damaged file and for other settings."""
    try:
        with safe_open(run.file, "pt", device=str(run.data.device)) as f:
            tensors, texts = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
        settings, position, history = (json.loads(texts[k]) for k in ("settings", "position", "history"))
    except (SafetensorError, KeyError, TypeError) as e:
        raise TrainingError(f"{run.file} is not a whole checkpoint ({e}); delete it or choose another folder") from e
    for name, value in json.loads(json.dumps(_settings(run))).items():
        if settings.get(name) != value:
            change = f"{name} was {settings.get(name)!r}, is {value!r}"
            raise TrainingError(f"{run.file} belongs to another run: {change}; choose another folder")
    for name, value in position.items():
        setattr(run, name, value)
    vars(run.history).update(history, rows=_tuples(history["rows"]), flags=_tuples(history["flags"]))
    run.log, run.best = tensors["log"], _group(tensors, "best")
    run.logits = {stage: logits.cpu() for stage, logits in _group(tensors, "logits").items()}
    run.system.load_state_dict(_group(tensors, "system"))
    if moments := _group(tensors, "optimizer"):
        run.optimizer = run.new_optimizer(run.system.stages[run.stage])
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in moments.items():
            i, name = key.split(".")
            state.setdefault(int(i), {})[name] = value
        run.optimizer.load_state_dict({**run.optimizer.state_dict(), "state": state})
    torch.set_rng_state(tensors["rng"].cpu())
    if "rng_cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng_cuda"].cpu(), run.data.device)


def _tuples(rows: list[list[Any]]) -> list[tuple]:
    return [tuple(row) for row in rows]


def _group(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
