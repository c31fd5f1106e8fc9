"""Federated training of any system: clients train on their own rows, the server averages what they send (FedAvg).

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized Data
(AISTATS 2017). The clients of PmcmFL (`mmlib.models.pmcmfl`): few classes each, and modalities of their own.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmlib import metrics, missing
from mmlib.data.dataset import Dataset, zero_hidden
from mmlib.missing.patterns import all_patterns
from mmlib.models.base import System
from mmlib.names import DataError
from mmlib.training import evaluate, fit
from mmlib.training.fit import better

State = Mapping[str, Tensor]


def fit_federated(
    system: System,
    data: Dataset,
    *,
    clients: int = 30,
    concentration: float = 0.1,
    incomplete: bool = True,
    rounds: int = 20,
    per_round: int = 5,
    local_epochs: int = 1,
    valid_protocol: missing.Protocol | str = "patterns",
    seed: int = 0,
    **settings: Any,
) -> pd.DataFrame:
    """Trains a system of one stage in rounds; it ends with the weights of the round that is best on validation.

    In a round `per_round` clients start from the weights of the server, and `fit` trains each for `local_epochs` on its rows;
    it keeps the weights of its last epoch, since a client has no validation rows. The server takes their `average`.
    clients, concentration: as in `shards`. incomplete: every client has one set of modalities, all sets equally likely, and
    only its rows that have one of them. valid_protocol: the missingness on validation, which the server has.
    settings: of `fit`, such as lr and batch_size. A round starts a new optimiser on each client.
    Returns a line per round: round, clients, rows, and the validation score by the name of its metric.
    Raises DataError for a system of several stages or a number out of range.
    """
    if len(system.stages) != 1:
        raise DataError(
            f"federated training is for systems of one stage, this one has {', '.join(system.stages) or 'none'}"
        )
    if not 1 <= per_round <= clients or rounds < 1 or local_epochs < 1:
        raise DataError(
            f"give 1 <= per_round ({per_round}) <= clients ({clients}), and at least one round and local epoch"
        )
    parts = shards(data, clients, concentration, seed)
    owned = [_owned(data, rows, seed, k if incomplete else None) for k, rows in enumerate(parts)]
    owned = [client for client in owned if client is not None]
    rng, metric, history, best = np.random.default_rng(seed), metrics.STOPPING[data.task], [], None
    for number in range(rounds):
        chosen = rng.choice(len(owned), min(per_round, len(owned)), replace=False).tolist()
        states = []
        for k in chosen:
            local = copy.deepcopy(system)
            local.predict_in = lambda stage, batch: None  # nothing to validate: `fit` keeps the last epoch
            fit(local, owned[k], "complete", seed=seed + number, epochs=local_epochs, progress=False, **settings)
            local.on_epoch(
                local.stages[0], local_epochs
            )  # the epoch that would follow, for which prototypes are computed
            states.append(local.state_dict())
        sizes = [len(owned[k].rows("train")) for k in chosen]
        system.load_state_dict(average(states, sizes))
        value = evaluate(system.eval(), data, valid_protocol, "valid", seed=seed)[metric]
        if best is None or better(metric, value, best[0]):
            best = (value, {name: tensor.clone() for name, tensor in system.state_dict().items()})
        history.append({"round": number, "clients": len(chosen), "rows": sum(sizes), metric: value})
    system.load_state_dict(best[1])
    system.fitted_to = data.scaling
    return pd.DataFrame(history)


def shards(data: Dataset, clients: int, concentration: float, seed: int = 0) -> list[Tensor]:
    """Training rows of each client, every row of exactly one: each class is shared out by a Dirichlet draw of its own.

    concentration: of the Dirichlet law; small: a client has few classes, large: all have the same shares. Of a row with
    several labels the first one counts; without any, they form a class; numbers of a regression form quarters.
    """
    rows = data.rows("train").cpu()
    target = data.target[rows.to(data.device)].cpu()
    if data.task == "regression":
        kind = torch.bucketize(target, torch.quantile(target, torch.tensor([0.25, 0.5, 0.75])))
    elif data.task == "multiclass":
        kind = target
    else:
        kind = torch.where(target.bool().any(1), target.bool().int().argmax(1), target.shape[1])
    rng, of_client = np.random.default_rng(seed), torch.zeros(len(rows), dtype=torch.int64)
    for value in kind.unique():
        members = (kind == value).nonzero()[:, 0]
        members = members[torch.from_numpy(rng.permutation(len(members)))]
        ends = np.round(rng.dirichlet(np.full(clients, concentration)).cumsum() * len(members)).astype(int)
        for k, part in enumerate(members.tensor_split(torch.from_numpy(ends[:-1]))):
            of_client[part] = k
    return [rows[of_client == k] for k in range(clients)]


def average(states: Sequence[State], sizes: Sequence[int]) -> dict[str, Tensor]:
    """The mean of what clients send, weighed by their numbers of rows (FedAvg).

    A buffer NAME with a buffer NAME_count is itself a mean over rows: entry c of its last dimension but one is weighed by the
    count of c, and stays as the first client has it where nobody has rows; the counts are added.
    """
    share = [size / sum(sizes) for size in sizes]
    merged = {}
    for name, first in states[0].items():
        values = [state[name] for state in states]
        if name.endswith("_count") and name.removesuffix("_count") in states[0]:
            merged[name] = torch.stack(values).sum(0)
        elif f"{name}_count" in states[0]:
            counts = torch.stack([state[f"{name}_count"] for state in states])[..., None]  # (K, C, 1)
            total = counts.sum(0)
            mean = sum(c * value for c, value in zip(counts, values)) / total.clamp(min=1)
            merged[name] = torch.where(total > 0, mean, first)
        elif first.is_floating_point():
            merged[name] = sum(w * value for w, value in zip(share, values))
        else:
            merged[name] = first
    return merged


def _owned(data: Dataset, rows: Tensor, seed: int, client: int | None) -> Dataset | None:
    """A client's rows with its modalities; None without any. client: its number, by which they are drawn; None: it has all."""
    features, observed = ({m: x[rows] for m, x in part.items()} for part in (data.features, data.observed))
    if client is not None:
        patterns = all_patterns(len(data.modalities))
        pattern = patterns[int(np.random.default_rng((seed, client)).integers(len(patterns)))].tolist()
        observed = {m: f & has for (m, f), has in zip(observed.items(), pattern)}
    usable = torch.stack([f.any(1) for f in observed.values()]).any(0)
    if not bool(usable.any()):
        return None
    observed = {m: f[usable] for m, f in observed.items()}
    features = {m: zero_hidden(x[usable], observed[m]) for m, x in features.items()}
    target, n = data.target[rows][usable], int(usable.sum())
    # `fit` asks for validation rows, whose scores are not used here: the same ones again.
    features, observed = ({m: torch.cat((x, x)) for m, x in part.items()} for part in (features, observed))
    return replace(
        data, features=features, observed=observed, target=torch.cat((target, target)), split=["train"] * n + ["valid"] * n,
        ids=[str(i) for i in range(2 * n)], group=None, order=None, speaker=None, fold=None, partial=True,
    )  # fmt: skip
