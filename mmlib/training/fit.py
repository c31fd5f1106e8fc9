"""One loop for every system: fit with exact resume, predict, evaluate.

Choices are made on the validation split; nothing here reads the test split unless `evaluate` is told to, but for one
check before the start: that training has every class that the other splits have.
"""

import hashlib
import itertools
import json
import math
import os
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from mmlib import metrics, missing
from mmlib.data.dataset import Dataset, View
from mmlib.models.base import System
from mmlib.training.evaluate import _score, predictions

_CHECKPOINT = "checkpoint.safetensors"
_CHECKPOINT_SECONDS = 60.0


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says where it stood and what to do."""


@dataclass
class History:
    """What happened during `fit`.

    rows: (stage, epoch, split, name, value), each loss term averaged over the epoch's steps, then the validation score.
    metric, best_epoch, best_score: of the weights that the last stage kept. seconds: wall time of all epochs. steps:
    optimiser steps.
    """

    metric: str
    rows: list[tuple[str, int, str, str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_score: float = float("nan")
    seconds: float = 0.0
    steps: int = 0

    @property
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=["stage", "epoch", "split", "name", "value"])


def fit(
    system: System,
    data: Dataset,
    protocol: missing.Protocol | str,
    *,
    valid_protocol: missing.Protocol | str | None = None,
    seed: int = 0,
    epochs: int | dict[str, int] = 20,
    batch_size: int = 32,
    lr: float | dict[str, float] = 1e-3,
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
    warmup: float = 0.0,
    decay: bool = False,
    monitor: str | None = None,
    patience: int | None = None,
    folder: Path | str | None = None,
    progress: bool = True,
) -> History:
    """Trains a system with Adam through all its stages and leaves it with the weights that scored best on validation.

    protocol: what is missing in training; valid_protocol: in the validation of the last stage (default: the same).
    epochs, lr: of every stage, or one number per stage; a stage of several parts ("itfn text") is named by its first word.
    max_grad_norm: largest norm of a gradient (default: any). warmup: the share of a stage's steps in which the learning rate
    rises in a straight line from nothing. decay: from there it falls in a straight line, to nothing at the stage's end.
    monitor: the validation metric that chooses among a stage's epochs (default: `metrics.PRIMARY`). patience: a stage ends
    after so many epochs without a better score.
    folder: where checkpoints go; a run that was killed goes on from there and ends with the same weights, bit for bit.
    Raises TrainingError for a non-finite loss, naming the rows, for a folder that holds another run, and for a class that
    validation or test have and training has not.
    """
    protocol = missing.parse(protocol) if isinstance(protocol, str) else protocol
    valid_protocol = missing.parse(valid_protocol) if isinstance(valid_protocol, str) else valid_protocol or protocol
    monitor = monitor or metrics.PRIMARY[data.task]
    options = _Options(seed, batch_size, weight_decay, max_grad_norm, warmup, decay, monitor, patience)
    run = _Run(system, data, protocol, valid_protocol, options)
    run.plan(epochs, lr)
    with torch.random.fork_rng(devices=[data.device] if data.device.type == "cuda" else []):
        run.open(folder)
        run.train(progress)
    system.eval()
    return run.history


@dataclass(frozen=True)
class _Options:
    seed: int
    batch_size: int
    weight_decay: float
    max_grad_norm: float | None
    warmup: float
    decay: bool
    monitor: str
    patience: int | None


class _Run:
    """State of one `fit`: where it stands (stage, epoch, step), and how that goes to disk and back."""

    def __init__(self, system, data, protocol, valid_protocol, options: _Options):
        self.system, self.data, self.protocol, self.valid_protocol = system, data, protocol, valid_protocol
        self.options, self.history = options, History(options.monitor)
        self.stage, self.epoch, self.step = 0, 0, 0
        self.best: dict[str, Tensor] = {}
        self.terms: tuple[str, ...] = ()
        self.log = torch.zeros(0)
        self.file: Path | None = None
        self.optimizer: torch.optim.Adam | None = None
        self._view: View | None = None

    def plan(self, epochs: int | dict[str, int], lr: float | dict[str, float]) -> None:
        options = self.options
        self.epochs, self.lr = self._per_stage("epochs", epochs), self._per_stage("lr", lr)
        counts = {f"epochs of {stage}": n for stage, n in self.epochs.items()}
        counts |= {"batch_size": options.batch_size, "patience": options.patience}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise TrainingError(f"{name} is {count}, it must be at least 1")
        if options.max_grad_norm is not None and not options.max_grad_norm > 0:
            raise TrainingError(f"max_grad_norm is {options.max_grad_norm}, it must be above 0")
        if not 0 <= options.warmup < 1:
            raise TrainingError(f"warmup is {options.warmup}, it must be from 0 to below 1")
        if self.data.task == "multiclass":
            self._check_classes()

    def _per_stage(self, name: str, value: Any) -> dict[str, Any]:
        stages = self.system.stages
        if not isinstance(value, dict):
            return dict.fromkeys(stages, value)
        words = {stage: stage.split()[0] for stage in stages}
        if set(value) != set(words.values()):
            expected = list(dict.fromkeys(words.values()))
            raise TrainingError(f"{name} names the stages {sorted(value)}, the system has {expected}")
        return {stage: value[word] for stage, word in words.items()}

    def _check_classes(self) -> None:
        known = set(self.data.target[self.data.rows("train")].tolist())
        for split in ("valid", "test"):
            unknown = set(self.data.target[self.data.rows(split)].tolist()) - known
            if unknown:
                name = self.data.label_names[min(unknown)]
                raise TrainingError(
                    f"{self.data.where}: class {name!r} occurs in {split} but in no training row, so nothing can learn it; "
                    "drop its rows or split anew"
                )

    def train(self, progress: bool) -> None:
        system, stages = self.system, self.system.stages
        if self.stage == self.epoch == self.step == 0:
            torch.manual_seed(self.options.seed)
            system.setup(self._train_view())
        if not stages:
            return
        # Whatever is wrong with monitor or validation masks shows before the training, not after.
        self.valid_protocol.observed(self.data, "valid", self.options.seed)
        any(self._validate(stage) is not None for stage in stages)
        silent = {} if progress else {"disable": True}  # the variable TQDM_DISABLE counts where nothing is said
        bar = tqdm(total=sum(self.epochs.values()), unit="epoch", leave=False, **silent)
        bar.update(sum(self.epochs[s] for s in stages[: self.stage]) + self.epoch)
        while self.stage < len(stages):
            stage = stages[self.stage]
            if self.optimizer is None:
                self.best, self.history.best_epoch, self.history.best_score = {}, -1, math.nan
                system.on_stage(stage, self._train_view())
                self.optimizer = self._new_optimizer(stage)
            if self.epoch < self.epochs[stage]:
                system.prepare(stage, self._train_view())
            while self.epoch < self.epochs[stage]:
                self._train_epoch(stage)
                stop = self._end_epoch(stage)
                bar.update()
                bar.set_postfix_str(f"{stage} {self.history.metric} {self.history.best_score:.3f}")
                if stop:
                    break
            if self.best:
                system.load_state_dict(self.best)
            self.stage, self.epoch, self.optimizer = self.stage + 1, 0, None
        bar.close()
        self._save()

    def _train_epoch(self, stage: str) -> None:
        started = time.perf_counter()
        system, view = self.system, self._train_view()
        batches = self._order(stage, len(view)).split(self.options.batch_size)
        if self.step == 0:
            system.on_epoch(stage, self.epoch)
        system.train()
        while self.step < len(batches):
            self._train_step(stage, view, batches)
            self.step += 1
            if self.file is not None and time.perf_counter() - started > _CHECKPOINT_SECONDS:
                self._check_finite(stage, view, batches)
                self.history.seconds += time.perf_counter() - started
                self._save()
                started = time.perf_counter()
        self._check_finite(stage, view, batches)
        self.history.seconds += time.perf_counter() - started
        self.history.steps += len(batches)

    def _train_step(self, stage: str, view: View, batches: tuple[Tensor, ...]) -> None:
        batch = view.batch(batches[self.step])
        terms = self.system.loss(batch, stage)
        total = sum(terms.values())
        self.optimizer.zero_grad()
        total.backward()
        if self.options.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.system.parameters_of(stage), self.options.max_grad_norm)
        step, steps = self.epoch * len(batches) + self.step, self.epochs[stage] * len(batches)
        self.optimizer.param_groups[0]["lr"] = self.lr[stage] * self._factor(step, steps)
        self.optimizer.step()
        self.system.after_step(batch, stage)
        if self.step == 0:
            self.terms = tuple(terms)
            self.log = torch.zeros(len(batches), len(terms), device=total.device)
        self.log[self.step] = torch.stack([t.detach() for t in terms.values()])

    def _factor(self, step: int, steps: int) -> float:
        """Of the learning rate, at this step of a stage that has so many."""
        warmup = self.options.warmup * steps
        if step < warmup:
            return min(1.0, (step + 1) / warmup)
        return 1 - (step - warmup) / (steps - warmup) if self.options.decay else 1.0

    def _end_epoch(self, stage: str) -> bool:
        """Logs, validates where the stage can be, keeps the best weights, saves; True when patience has run out."""
        history = self.history
        for name, value in zip(self.terms, self.log.mean(0).tolist()):
            history.rows.append((stage, self.epoch, "train", name, value))
        stop = False
        value = self._validate(stage)
        if value is not None:
            history.rows.append((stage, self.epoch, "valid", history.metric, value))
            if not self.best or metrics.better(history.metric, value, history.best_score):
                history.best_epoch, history.best_score = self.epoch, value
                self.best = {k: v.clone() for k, v in self.system.state_dict().items()}
            stop = self.options.patience is not None and self.epoch - history.best_epoch >= self.options.patience
        self.epoch, self.step = (self.epochs[stage] if stop else self.epoch + 1), 0
        self._save()
        return stop

    def _validate(self, stage: str) -> float | None:
        """The monitored score after an epoch of this stage; None for a stage that validation cannot judge."""
        protocol = self.valid_protocol if stage == self.system.stages[-1] else self.protocol
        predict = partial(self.system.predict_in, stage)
        # Where a prediction depends on its batch mates there should be as many as in training.
        size = self.options.batch_size if self.system.batch_dependent else 256
        parts = predictions(self.system, predict, self.data, protocol, "valid", self.options.seed, size)
        first = next(parts)
        if first is None:
            parts.close()
            return None
        score = _score(itertools.chain([first], parts), self.data, "valid")
        if self.history.metric not in score:
            raise TrainingError(f"monitor {self.history.metric!r} is not one of {', '.join(score)}")
        return score[self.history.metric]

    def _check_finite(self, stage: str, view: View, batches: tuple[Tensor, ...]) -> None:
        bad = ~self.log[: self.step].isfinite()
        if not bool(bad.any()):
            return
        step, term = bad.nonzero()[0].tolist()
        ids = self.data.ids[view.rows[batches[step]].cpu().numpy()]
        raise TrainingError(
            f"{self.data.where}: loss {self.terms[term]!r} is not finite in stage {stage!r}, epoch {self.epoch}, step "
            f"{step}; rows {', '.join(ids[:32])}; lower lr ({self.lr[stage]:g}) or look at these rows"
        )

    def _train_view(self) -> View:
        # A mask that is not redrawn is the same in every epoch, and so is the view.
        if self.protocol.redrawn or self._view is None:
            before = sum(self.epochs[s] for s in self.system.stages[: self.stage])
            epoch = before + self.epoch
            observed = self.protocol.observed(self.data, "train", self.options.seed, epoch)
            self._view = self.data.view("train", observed, complete=self.protocol.complete_training)
        return self._view

    def _order(self, stage: str, n: int) -> Tensor:
        digest = hashlib.blake2b(f"{self.options.seed}|{stage}|{self.epoch}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest))
        return torch.randperm(n, generator=generator).to(self.data.device)

    def _new_optimizer(self, stage: str) -> torch.optim.Adam:
        return torch.optim.Adam(
            self.system.parameters_of(stage), lr=self.lr[stage], weight_decay=self.options.weight_decay, fused=True
        )

    def _settings(self) -> dict[str, Any]:
        """What must agree for a checkpoint to be this run's."""
        return {
            "system": f"{type(self.system).__module__}.{type(self.system).__qualname__}",
            "arguments": self.system.arguments,
            "data": self.data.fingerprint,
            "protocol": str(self.protocol),
            "valid_protocol": str(self.valid_protocol),
            "epochs": self.epochs,
            "lr": self.lr,
            **asdict(self.options),
        }

    def open(self, folder: Path | str | None) -> None:
        if folder is None or not self.system.stages:
            return
        self.file = Path(folder) / _CHECKPOINT
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.file.exists():
            self._load()

    def _save(self) -> None:
        if self.file is None:
            return
        tensors = {f"system.{k}": v for k, v in self.system.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= {"log": self.log, "rng": torch.get_rng_state()}
        if self.data.device.type == "cuda":
            tensors["rng_cuda"] = torch.cuda.get_rng_state(self.data.device)
        if self.optimizer is not None:
            for i, state in self.optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        position = {"stage": self.stage, "epoch": self.epoch, "step": self.step, "terms": self.terms}
        metadata = {
            "settings": json.dumps(self._settings()),
            "position": json.dumps(position),
            "history": json.dumps(vars(self.history)),
        }
        temporary = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, temporary, metadata)
        os.replace(temporary, self.file)

    def _load(self) -> None:
        try:
            with safe_open(self.file, "pt", device=str(self.data.device)) as f:
                tensors, metadata = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
            settings = json.loads(metadata["settings"])
        except (SafetensorError, KeyError, TypeError) as e:
            raise TrainingError(
                f"{self.file} is not a whole checkpoint ({e}); delete it or choose another folder"
            ) from e
        mine = json.loads(json.dumps(self._settings()))
        for name, value in mine.items():
            if settings.get(name) != value:
                raise TrainingError(
                    f"{self.file} belongs to another run: {name} was {settings.get(name)!r}, is {value!r}; "
                    "choose another folder"
                )
        position, history = json.loads(metadata["position"]), json.loads(metadata["history"])
        self.stage, self.epoch, self.step = position["stage"], position["epoch"], position["step"]
        self.terms = tuple(position["terms"])
        self.history = History(**{**history, "rows": [tuple(r) for r in history["rows"]]})
        self.log = tensors["log"]
        self.best = _with_prefix(tensors, "best.")
        self.system.load_state_dict(_with_prefix(tensors, "system."))
        moments = _with_prefix(tensors, "optimizer.")
        if moments:
            self.optimizer = self._new_optimizer(self.system.stages[self.stage])
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in moments.items():
                i, name = key.split(".")
                state.setdefault(int(i), {})[name] = value
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        torch.set_rng_state(tensors["rng"].cpu())
        if "rng_cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng_cuda"].cpu(), self.data.device)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
