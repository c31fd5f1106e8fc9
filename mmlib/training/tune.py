"""The one place where settings are chosen: the same number of trials for every system, judged on validation alone."""

import hashlib
import inspect
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.model_selection import ParameterGrid, ParameterSampler

from mmlib import files, metrics, missing
from mmlib.data.dataset import Dataset
from mmlib.models.base import System, task_loss
from mmlib.training.checkpoint import Diverged
from mmlib.training.evaluate import predict
from mmlib.training.fit import History, better, fit

_OF_FIT = set(inspect.signature(fit).parameters)


@dataclass(frozen=True)
class Tuned:
    """A system that was trained with the settings of its best trial.

    settings: the chosen values. trials: one line per trial with columns settings (text), metric, value (on validation), flags,
    steps, seed, chosen (bool).
    """

    system: System
    history: History
    settings: dict[str, Any]
    trials: pd.DataFrame


def tune(
    new: Callable[..., System],
    data: Dataset,
    protocol: missing.Protocol | str,
    *,
    grid: Mapping[str, Sequence[Any]],
    trials: int,
    seed: int = 0,
    trial_seed: int = 0,
    judged: missing.Protocol | str | None = None,
    shared: Path | str | None = None,
    **settings: Any,
) -> Tuned:
    """Chooses settings by trials on validation, and trains the system with them.

    new: makes a system from `seed` and settings of its own, such as partial(MODELS["umdf"].for_data, data).
    grid: values by name, for every system of a study; the system's own `grid` is added. Names that `fit` has are settings of
    the training, all others go to `new`. What is tried of them: `candidates`. A system without stages has nothing to try.
    trial_seed: of all trials; the chosen setting is trained with `seed`.
    judged: the missingness on validation under which finished trials are compared (None: by the best score of the last
    stage). A system whose stages are each for one set of modalities is not judged by its last stage alone.
    shared: a folder in which runs of one study that differ in `seed` share their trials: each trial is made once, and a killed
    run loses the trial under way alone (None: this run makes them all). Its files are of one version of code and data.
    settings: further arguments of `fit`, the same in all trials; `folder` belongs to the final training.
    The trial with the best validation score wins, flagged or not; of equal ones the first. One whose loss is not finite is
    flagged 'diverged' and cannot win. Raises TrainingError as `fit` does, and where all trials diverged.
    """
    own = {k: v for k, v in settings.items() if k != "folder"}
    best: dict[str, Any] = {}  # of the trials that this process has made

    def train(values: Mapping[str, Any], seed: int, **more: Any) -> tuple[System, History]:
        system = new(seed=seed, **{k: v for k, v in values.items() if k not in _OF_FIT})
        of_fit = {k: v for k, v in values.items() if k in _OF_FIT}
        return system, fit(system, data, protocol, seed=seed, **{**own, **of_fit, **more})

    def trial(number: int) -> dict[str, Any]:
        try:
            system, history = train(points[number], trial_seed)
        except Diverged:
            return {"metric": "", "value": math.nan, "flags": "diverged", "steps": 0}
        value = history.best_score
        if judged is not None:
            logits, target = (
                predict(system, data, judged, "valid", seed=trial_seed).logits,
                data.target[data.rows("valid")],
            )
            scores = {"loss": float(task_loss(logits, target.cpu(), data.task))} if history.metric == "loss" else None
            value = (scores or metrics.score(data.task, logits, target))[history.metric]
        if not best or better(history.metric, value, best["value"]):
            best.update(number=number, value=value, made=(system, history))
        return {"metric": history.metric, "value": value, "flags": history.flagged, "steps": history.steps}

    example = new(seed=trial_seed)
    if not example.stages:
        return Tuned(*train({}, seed), {}, pd.DataFrame())
    points = candidates({**grid, **example.grid}, trials)
    kind = f"{type(example).__module__}.{type(example).__qualname__}"
    what = [kind, example.arguments, data.fingerprint, str(protocol), str(judged), {k: str(v) for k, v in own.items()}]
    results = _results(trial, points, what, Path(shared) if shared else None)
    chosen = 0
    for number, result in enumerate(results):
        if better(result["metric"], result["value"], results[chosen]["value"]):
            chosen = number
    if math.isnan(results[chosen]["value"]):
        raise Diverged(
            f"{data.where}: all {len(points)} trials diverged; give smaller learning rates than {grid.get('lr')}"
        )
    table = pd.DataFrame(results).assign(settings=[_text(p) for p in points], seed=trial_seed, chosen=False)
    table.loc[chosen, "chosen"] = True
    if best.get("number") == chosen and seed == trial_seed:
        return Tuned(*best["made"], points[chosen], table)
    return Tuned(*train(points[chosen], seed, folder=settings.get("folder")), points[chosen], table)


def candidates(grid: Mapping[str, Sequence[Any]], trials: int) -> list[dict[str, Any]]:
    """The settings to try: all combinations, or `trials` of them at random, the same ones in every call. Each value of a name
    comes as often as its others, so that a system with settings of its own tries the same learning rates as one without.
    """
    if trials < 1:
        raise ValueError(f"trials is {trials}, it must be at least 1")
    whole = list(ParameterSampler(dict(grid), len(ParameterGrid(dict(grid))), random_state=0))
    points: list[dict[str, Any]] = []
    for _ in range(min(trials, len(whole))):
        drawn = Counter(value for point in points for value in point.items())
        points.append(min((p for p in whole if p not in points), key=lambda p: sum(drawn[v] for v in p.items())))
    return points


def _results(
    trial: Callable[[int], dict[str, Any]], points: list[dict[str, Any]], what: list[Any], shared: Path | None
) -> list[dict[str, Any]]:
    """The result of each trial, from the folder where another run has made it. Trials under way elsewhere come last."""
    if shared is None:
        return [trial(number) for number in range(len(points))]
    shared.mkdir(parents=True, exist_ok=True)
    results: dict[int, dict[str, Any]] = {}
    for wait in (False, True):
        for number, point in enumerate(points):
            if number in results:
                continue
            name = hashlib.sha256(json.dumps([*what, point], default=str).encode()).hexdigest()[:24]
            path = shared / f"{name}.json"
            with files.locked(path.with_suffix(".lock"), wait) as mine:
                if path.exists():
                    results[number] = json.loads(path.read_text())
                elif mine:
                    results[number] = trial(number)
                    files.write(path, json.dumps(results[number]))
    return [results[number] for number in range(len(points))]


def _text(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in point.items())
