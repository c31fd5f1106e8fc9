"""One training loop for every system, from top to bottom: `fit`, stages, epochs, steps, validation, the best weights.

All choices are made on the validation split. Of the test split `fit` reads one thing: which classes occur in it.
"""

import hashlib
import itertools
import math
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from mmlib import metrics, missing
from mmlib.cost.plan import Plan
from mmlib.cost.threads import threads_for
from mmlib.data.dataset import Dataset, View
from mmlib.models.base import System, task_loss
from mmlib.models.yardsticks.baselines import class_weights, prior_logits
from mmlib.names import SPLITS, suggesting
from mmlib.training import checkpoint
from mmlib.training.checkpoint import Diverged, TrainingError
from mmlib.training.evaluate import predictions

_DECAYS = ("none", "linear", "plateau")
_FALLS, _FALL = 2, 0.2
_TOLERANCE = 0.05  # two trainings of the same network differ by about this share of what they gain over the prior
_GROUPS = 10  # of validation rows, each left out once to see how far a difference depends on the rows


@dataclass
class History:
    """What happened during `fit`.

    rows: (stage, epoch, split, name, value): each loss term as its mean over the steps of the epoch, and the validation score.
    flags: (stage, flag). 'limit': the best epoch lies in the last tenth of the stage's limit. 'at_prior': the stage never
    beat the prior on validation. 'below_part': a fusion stage ends worse on validation than a stage of one of its parts, by
    more than a twentieth of what the part gains over the prior and more than twice the standard error over rows.
    metric, best_epoch, best_score: of the weights that the last stage ends with. seconds: wall time of all epochs. steps:
    optimiser steps.
    """

    metric: str
    rows: list[tuple[str, int, str, str, float]] = field(default_factory=list)
    flags: list[tuple[str, str]] = field(default_factory=list)
    best_epoch: int = -1
    best_score: float = math.nan
    seconds: float = 0.0
    steps: int = 0

    @property
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=["stage", "epoch", "split", "name", "value"])

    @property
    def flagged(self) -> str:
        """The flags as text: 'limit (mf text); at_prior (itfn audio)', without stages where there is one alone."""
        stages = {row[0] for row in self.rows}
        return "; ".join(flag + f" ({stage})" * (len(stages) > 1) for stage, flag in self.flags)


@dataclass(frozen=True)
class _Options:
    epochs: dict[str, int]
    lr: dict[str, float]
    seed: int
    batch_size: int
    decay: str
    weight_decay: float
    max_grad_norm: float | None
    warmup: float
    balanced: bool
    absolute: bool
    monitor: str
    patience: int | None


@suggesting
def fit(
    system: System,
    data: Dataset,
    protocol: missing.Protocol | str,
    *,
    valid_protocol: missing.Protocol | str | None = None,
    seed: int = 0,
    epochs: int | dict[str, int] = 20,
    steps: int | None = None,
    batch_size: int = 32,
    lr: float | dict[str, float] = 1e-3,
    decay: str = "none",
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
    warmup: float = 0.0,
    balanced: bool = False,
    absolute: bool = False,
    monitor: str | None = None,
    patience: int | None = None,
    folder: Path | str | None = None,
    progress: bool = True,
) -> History:
    """Trains a system with Adam through all its stages; the system ends with the weights of the best validation score.

    After the first steps a line says how many can come and how long they take (not with progress=False).
    A small network is trained by one thread, see `threads.threads_for`.
    protocol: the missingness in training. valid_protocol: the missingness in the validation of the last stage (None: the same).
    epochs, lr: one number for all stages, or one per stage; a stage of several parts ("itfn text") goes by its first word.
    steps: the limit of every stage in optimiser steps, rounded up to whole epochs (None: `epochs` is the limit).
    decay: of the learning rate; 'none'; 'linear': it falls to 0 at the limit of the stage; 'plateau': it falls to a fifth
    where patience ends, twice, and training goes on from the best weights.
    max_grad_norm: gradients with a larger norm are scaled down to it (None: no limit).
    warmup: share of the steps of a stage in which the learning rate rises linearly from 0. balanced: each class has the same
    weight in the losses of a multiclass task, whatever its share of the training rows. absolute: the absolute error is the
    task loss of a regression in place of the squared one; of SMCIR it always is.
    monitor: the validation metric that chooses among the epochs of a stage, or 'loss', the mean task loss without class
    weights (None: `metrics.STOPPING`).
    patience: a stage ends after so many epochs without a better score, once it has beaten the prior (None: at its limit).
    folder: where checkpoints go (None: none are made); a killed run continues there and ends with the same weights.
    Raises TrainingError for a loss that is not finite (naming the rows), a folder of another run, a class that occurs in
    validation or test but not in training, and an argument out of range.
    """
    protocol = missing.parse(protocol) if isinstance(protocol, str) else protocol
    valid_protocol = missing.parse(valid_protocol) if isinstance(valid_protocol, str) else valid_protocol or protocol
    if steps is not None:
        epochs = math.ceil(steps * min(batch_size, n := len(data.rows("train"))) / n)
    epochs, lr = _per_stage(system, "epochs", epochs), _per_stage(system, "lr", lr)
    monitor = monitor or metrics.STOPPING[data.task]
    options = _Options(
        epochs, lr, seed, batch_size, decay, weight_decay, max_grad_norm, warmup, balanced, absolute, monitor, patience
    )
    _check_options(options)
    if data.task == "multiclass":
        _check_classes(data)
    run = _Run(system, data, protocol, valid_protocol, options, folder)
    devices = [data.device] if data.device.type == "cuda" else []
    with threads_for(system, data.device) as alone, torch.random.fork_rng(devices=devices):
        run.train(progress, alone)
    system.eval()
    system.fitted_to = data.scaling
    return run.history


class _Run:
    """One `fit` under way. Position: `stage` (its index), `epoch` and `step`, which is the next step of that epoch."""

    def __init__(self, system, data, protocol, valid_protocol, options: _Options, folder: Path | str | None):
        self.system, self.data, self.protocol, self.valid_protocol = system, data, protocol, valid_protocol
        self.options, self.history = options, History(options.monitor)
        self.stage, self.epoch, self.step = 0, 0, 0
        self.falls, self.since = 0, 0  # of 'plateau': how often the learning rate fell, and the epoch of the last time
        self.best: dict[str, Tensor] = {}
        # Logits of the validation rows at the best epoch of each stage, for stages that validation can score.
        self.logits: dict[str, Tensor] = {}
        self.terms: list[str] = []
        self.log = torch.zeros(0)  # (steps, terms) of the epoch
        self.optimizer: torch.optim.Adam | None = None
        self.plan: Plan | None = None
        self.file = Path(folder) / checkpoint.NAME if folder is not None and system.stages else None
        self.saved = time.perf_counter()
        self._view: View | None = None

    def train(self, progress: bool, alone: bool) -> None:
        """alone: whether one thread was chosen for the user, which is said once."""
        stages, epochs, self.system.absolute = self.system.stages, self.options.epochs, self.options.absolute
        if self.options.balanced and self.data.task == "multiclass":
            self.system.class_weight = class_weights(self.data.view("train"))
        if self.file is not None and self.file.exists():
            checkpoint.load(self)
        else:
            torch.manual_seed(self.options.seed)
            self.system.setup(self._train_view())
        if not stages:
            return
        # A wrong monitor or wrong validation masks raise here, before the training.
        self.valid_protocol.observed(self.data, "valid", self.options.seed)
        any(self._validate(stage) is not None for stage in stages)
        constant = prior_logits(self.data.view("train")).cpu()
        self.prior = self._score(constant.expand(len(self.data.rows("valid")), -1))
        silent = {} if progress else {"disable": True}  # without `disable` the variable TQDM_DISABLE decides
        with tqdm(total=sum(epochs.values()), initial=self._epochs(), unit="epoch", leave=False, **silent) as bar:
            if not bar.disable:
                self.plan = Plan(self.system, {stage: epochs[stage] for stage in stages[self.stage :]}, alone)
            while self.stage < len(stages):
                self._train_stage(stages[self.stage], bar)
        checkpoint.save(self)

    def _train_stage(self, stage: str, bar: tqdm) -> None:
        system, epochs, history = self.system, self.options.epochs[stage], self.history
        if self.optimizer is None:
            self.best, history.best_epoch, history.best_score = {}, -1, math.nan
            self.falls = self.since = 0
            system.on_stage(stage, self._train_view())
            self.optimizer = self.new_optimizer(stage)
        if self.epoch < epochs:
            system.prepare(stage, self._train_view())
        while self.epoch < epochs:
            self._train_epoch(stage)
            self._end_epoch(stage)
            bar.update()
            bar.set_postfix_str(f"{stage} {history.metric} {history.best_score:.3f}")
        if self.best:
            system.load_state_dict(self.best)
            self._flag(stage)
        self.stage, self.epoch, self.optimizer = self.stage + 1, 0, None

    def _train_epoch(self, stage: str) -> None:
        started = time.perf_counter()
        system, view = self.system, self._train_view()
        batches = view.cut(self._order(stage, len(view)), self.options.batch_size, system.needs_dialogues)
        if self.step == 0:
            system.on_epoch(stage, self.epoch)
        system.train()
        while self.step < len(batches):
            self._train_step(stage, view, batches)
            self.step += 1
            if self.plan and (line := self.plan.line(stage, self.step, len(batches))):
                tqdm.write(line, file=sys.stderr)
            if checkpoint.is_due(self):
                self._check_finite(stage, view, batches)
                self.history.seconds += time.perf_counter() - started
                checkpoint.save(self)
                started = time.perf_counter()
        self._check_finite(stage, view, batches)
        self.history.seconds += time.perf_counter() - started
        self.history.steps += len(batches)

    def _train_step(self, stage: str, view: View, batches: tuple[Tensor, ...]) -> None:
        options, batch = self.options, view.batch(batches[self.step])
        terms = self.system.loss(batch, stage)
        total = sum(terms.values())
        self.optimizer.zero_grad()
        total.backward()
        if options.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.system.parameters_of(stage), options.max_grad_norm)
        step, steps = self.epoch * len(batches) + self.step, options.epochs[stage] * len(batches)
        self.optimizer.param_groups[0]["lr"] = options.lr[stage] * _multiplier(options, step, steps) * _FALL**self.falls
        self.optimizer.step()
        self.system.after_step(batch, stage)
        if self.step == 0:
            self.terms, self.log = list(terms), torch.zeros(len(batches), len(terms), device=total.device)
        self.log[self.step] = torch.stack([t.detach() for t in terms.values()])

    def _end_epoch(self, stage: str) -> None:
        """Writes the history, validates and keeps the best weights; out of patience, the epoch is the last one."""
        history, stop = self.history, False
        for name, value in zip(self.terms, self.log.mean(0).tolist()):
            history.rows.append((stage, self.epoch, "train", name, value))
        logits = self._validate(stage)
        if logits is not None:
            value = self._score(logits)
            history.rows.append((stage, self.epoch, "valid", history.metric, value))
            if not self.best or better(history.metric, value, history.best_score):
                history.best_epoch, history.best_score = self.epoch, value
                self.best = {k: v.clone() for k, v in self.system.state_dict().items()}
                self.logits[stage] = logits
            stop = self._out_of_patience()
        self.epoch, self.step = (self.options.epochs[stage] if stop else self.epoch + 1), 0
        if checkpoint.is_due(self):
            checkpoint.save(self)

    def _out_of_patience(self) -> bool:
        """Whether the stage is at its end; with 'plateau' the learning rate falls twice before that."""
        history, patience = self.history, self.options.patience
        beaten = better(history.metric, history.best_score, self.prior)
        if patience is None or not beaten or self.epoch - max(history.best_epoch, self.since) < patience:
            return False
        if self.options.decay != "plateau" or self.falls == _FALLS:
            return True
        self.falls, self.since = self.falls + 1, self.epoch
        self.system.load_state_dict(self.best)
        return False

    def _flag(self, stage: str) -> None:
        history = self.history
        if history.best_epoch + 1 > 0.9 * self.options.epochs[stage]:
            history.flags.append((stage, "limit"))
        if not better(history.metric, history.best_score, self.prior):
            history.flags.append((stage, "at_prior"))
        if any(self._is_below(stage, part) for part in self.system.parts_of(stage) if part in self.logits):
            history.flags.append((stage, "below_part"))

    def _is_below(self, stage: str, part: str) -> bool:
        """Whether a finished stage is worse than one of its parts by more than two trainings, and other rows, would differ."""
        metric, logits = self.history.metric, (self.logits[stage], self.logits[part])
        own, of_part = map(self._score, logits)
        if not better(metric, of_part, self.prior):
            return False
        if not better(metric, of_part - _TOLERANCE * (of_part - self.prior), own):
            return False
        # The jackknife's standard error; rows of one group differ by _GROUPS, so neighbours are in different groups.
        rest = [torch.arange(len(logits[0])) % _GROUPS != group for group in range(_GROUPS)]
        differences = torch.tensor([self._score(logits[1], rows) - self._score(logits[0], rows) for rows in rest])
        return abs(of_part - own) > 2 * float(differences.std(correction=0)) * math.sqrt(_GROUPS - 1)

    def _validate(self, stage: str) -> Tensor | None:
        """The logits (n, C) of the validation rows after an epoch of this stage; None where validation cannot score it."""
        protocol = self.valid_protocol if stage == self.system.stages[-1] else self.protocol
        predict = partial(self.system.predict_in, stage)
        # A prediction that depends on the other rows of its batch needs batches as large as in training.
        size = self.options.batch_size if self.system.batch_dependent else 256
        parts = predictions(self.system, predict, self.data, protocol, "valid", self.options.seed, size)
        first = next(parts)
        if first is None:
            parts.close()
            return None
        return torch.cat([part.logits.cpu() for part in itertools.chain([first], parts)])

    def _score(self, logits: Tensor, rows: Tensor | slice = slice(None)) -> float:
        """The monitored score of logits for the validation rows, or for some of them."""
        target = self.data.target[self.data.rows("valid")].cpu()[rows]
        if self.history.metric == "loss":
            return float(task_loss(logits[rows], target, self.data.task))
        measures = metrics.measures(self.data.task, logits[rows], target)
        if self.history.metric not in measures:
            raise TrainingError(f"monitor {self.history.metric!r} is not one of loss, {', '.join(measures)}")
        return float(measures[self.history.metric]())

    def _check_finite(self, stage: str, view: View, batches: tuple[Tensor, ...]) -> None:
        bad = (~self.log[: self.step].isfinite()).nonzero()
        if not len(bad):
            return
        step, term = bad[0].tolist()
        ids = self.data.ids[view.rows[batches[step]].cpu().numpy()]
        place = f"stage {stage!r}, epoch {self.epoch}, step {step}; rows {', '.join(ids[:32])}"
        remedy = f"lower lr ({self.options.lr[stage]:g}) or look at these rows"
        raise Diverged(f"{self.data.where}: loss {self.terms[term]!r} is not finite in {place}; {remedy}")

    def _epochs(self) -> int:
        """The number of epochs before this one, of all stages."""
        return sum(self.options.epochs[stage] for stage in self.system.stages[: self.stage]) + self.epoch

    def _train_view(self) -> View:
        # A mask that is not redrawn is the same in every epoch, and so is the view.
        if self.protocol.redrawn or self._view is None:
            observed = self.protocol.observed(self.data, "train", self.options.seed, self._epochs())
            self._view = self.data.view("train", observed, complete=self.protocol.complete_training)
        return self._view

    def _order(self, stage: str, n: int) -> Tensor:
        digest = hashlib.blake2b(f"{self.options.seed}|{stage}|{self.epoch}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest))
        return torch.randperm(n, generator=generator).to(self.data.device)

    def new_optimizer(self, stage: str) -> torch.optim.Adam:
        parameters, lr = self.system.parameters_of(stage), self.options.lr[stage]
        return torch.optim.Adam(parameters, lr=lr, weight_decay=self.options.weight_decay, fused=True)


def _multiplier(options: _Options, step: int, steps: int) -> float:
    """Learning-rate multiplier at `step` of `steps`."""
    warmup = options.warmup * steps
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    return 1 - (step - warmup) / (steps - warmup) if options.decay == "linear" else 1.0


def better(metric: str, new: float, old: float) -> bool:
    """`metrics.better`, for the task loss as well."""
    return new < old if metric == "loss" else metrics.better(metric, new, old)


def _per_stage(system: System, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return dict.fromkeys(system.stages, value)
    words = [stage.split()[0] for stage in system.stages]
    if set(value) != set(words):
        raise TrainingError(f"{name} names the stages {sorted(value)}, the system has {list(dict.fromkeys(words))}")
    return {stage: value[word] for stage, word in zip(system.stages, words)}


def _check_options(options: _Options) -> None:
    epochs = {f"epochs of {stage}": n for stage, n in options.epochs.items()}
    for name, count in {**epochs, "batch_size": options.batch_size, "patience": options.patience}.items():
        if count is not None and count < 1:
            raise TrainingError(f"{name} is {count}, it must be at least 1")
    if options.decay not in _DECAYS:
        raise TrainingError(f"decay {options.decay!r} is not one of {', '.join(_DECAYS)}")
    if options.decay == "plateau" and options.patience is None:
        raise TrainingError("decay 'plateau' needs a patience, at whose end the learning rate falls")
    if options.max_grad_norm is not None and not options.max_grad_norm > 0:
        raise TrainingError(f"max_grad_norm is {options.max_grad_norm}, it must be above 0")
    if not 0 <= options.warmup < 1:
        raise TrainingError(f"warmup is {options.warmup}, it must be from 0 to below 1")


def _check_classes(data: Dataset) -> None:
    classes = {split: set(data.target[data.rows(split)].tolist()) for split in SPLITS if (data.split == split).any()}
    for split in classes:
        if new := classes[split] - classes["train"]:
            label, remedy = data.label_names[min(new)], "so no system can learn it; drop its rows or split anew"
            raise TrainingError(f"{data.where}: class {label!r} occurs in {split} but in no training row, {remedy}")
