"""SIM-C's speed against its per-sample form, the loop's overhead, and the distance to the oracle at MM-IMDb's size."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from mmlib import missing, synthetic
from mmlib.data.dataset import Batch, Dataset
from mmlib.models import simc
from mmlib.models.base import System
from mmlib.models.catalogue import MODELS
from mmlib.models.simc import SIMC
from mmlib.models.yardsticks.oracle import Oracle
from mmlib.training.evaluate import evaluate, predict
from mmlib.training.fit import fit
from tests.bench.table import Table
from tests.helpers.weights import simc_weights
from tests.reference import simc as reference

CONFIGURATIONS = simc.SIMC_CONFIGURATIONS


def cpu_seconds(work: Callable[[], None], repeats: int) -> float:
    work()
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def batched_against_per_sample(table: Table) -> None:
    data = synthetic.like("mmimdb").sample({"train": 32, "valid": 1, "test": 1})
    batch = data.view("train", missing.parse("complex_20_40_40").observed(data, "train", 0)).batch(torch.arange(32))
    system = SIMC.for_data(data).eval()
    weights, samples = simc_weights(system), [_sample(batch, i) for i in range(32)]

    def fast():
        sum(system.loss(batch, "joint").values()).backward()

    def slow():
        sum(reference.losses(weights, samples, batch.target, "paper", 0.5, 1.0, "mean")).backward()

    def released_form():
        # Only the simulators one film at a time, as the released code does; fusion and head on the whole batch.
        true = system.features(batch)
        rows = [system.simulate(true[0][i : i + 1], true[1][i : i + 1]) for i in range(32)]
        simulated = tuple(torch.cat(part) for part in zip(*rows))
        available = (batch.present["image"], batch.present["text"])
        completed = [system.complete(t, s, a) for t, s, a in zip(true, simulated, available)]
        logits = system.g(system.fuse(*completed))
        (system.simulation_loss(batch, simulated) + logits.square().mean()).backward()

    ours, naive, released = cpu_seconds(fast, 20), cpu_seconds(slow, 5), cpu_seconds(released_form, 5)
    size = "32 films"
    table.add(
        "simc",
        size,
        "forward and backward",
        1e3 * ours,
        "ms",
        against="film by film",
        ratio=ours / naive,
        wanted="<= 0.2",
    )
    table.add(
        "simc", size, "forward and backward", 1e3 * ours, "ms", against="simulators film by film", ratio=ours / released
    )


def _sample(batch: Batch, i: int) -> tuple[Tensor | None, Tensor | None]:
    return tuple(batch.x[m][i, 0] if batch.present[m][i] else None for m in ("image", "text"))


def loop_overhead(data: Dataset, table: Table) -> None:
    """Share of an epoch that is neither forward, backward nor optimiser: the same steps, bare and through `fit`."""
    few = data.subset(torch.cat([data.rows("train")[:3200], data.rows("valid")[:1], data.rows("test")[:1]]), "bench")
    protocol = missing.parse("complex_20_40_40")
    bare, through = [], []
    for _ in range(3):
        system = SIMC.for_data(few)
        optimizer = torch.optim.Adam(system.parameters(), lr=5e-5, fused=True)
        view = few.view("train", protocol.observed(few, "train", 0))
        batches = list(view.batches(8))
        start = time.process_time()
        for batch in batches:
            total = sum(system.loss(batch, "joint").values())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        bare.append(time.process_time() - start)
        start = time.process_time()
        fit(SIMC.for_data(few), few, protocol, epochs=1, batch_size=8, lr=5e-5, progress=False)
        through.append(time.process_time() - start)
    overhead = 1 - min(bare) / min(through)
    table.add("simc", "8 films", "overhead of a step in fit", 100 * overhead, "%", wanted="<= 10")


def at_full_size(data: Dataset, world: synthetic.World, table: Table) -> None:
    oracle = Oracle(world)
    systems: dict[str, System] = {}
    for name, model, arguments, lr, batch_size in [
        ("SIM-C", "simc", {}, 5e-5, 8),
        ("zero fill", "fill", {}, 1e-3, 64),
        ("zero fill + modality dropout", "fill", {"dropout": True}, 1e-3, 64),
    ]:
        systems[name] = MODELS[model].for_data(data, **arguments)
        start = time.perf_counter()
        fit(systems[name], data, "complete", epochs=20, batch_size=batch_size, lr=lr)
        minutes = (time.perf_counter() - start) / 60
        size = f"20 epochs, batch {batch_size}, lr {lr:g}"
        table.add(name, size, "training at full size", minutes, "min")
    for condition in CONFIGURATIONS:
        best = 100 * evaluate(oracle, data, condition)["f1_micro"]
        for name, system in systems.items():
            below = best - 100 * evaluate(system, data, condition)["f1_micro"]
            table.add(name, condition, "micro-F1 below the oracle", below, "points")
    test = data.view("test", labelled=False)
    truth = test.batch(torch.arange(len(test)))
    for lost, kept in (("text", "image"), ("image", "text")):
        hidden = truth.without(lost)
        exact = torch.cat([oracle.complete(hidden.select(r))[lost].mean for r in torch.arange(len(test)).split(512)])
        ours, x = predict(systems["SIM-C"], data, f"available({kept})").completed[lost], truth.x[lost]
        total, left, least = (float((x - y).square().sum()) for y in (x.mean(0), ours, exact))
        share = (total - left) / (total - least)
        table.add("SIM-C", f"{lost} from {kept}", "explained of what can be", 100 * share, "%", wanted=">= 95")


def main(table: Table) -> None:
    torch.manual_seed(0)
    batched_against_per_sample(table)
    loop_overhead(synthetic.like("mmimdb").sample(synthetic.rows_like("mmimdb"), 0), table)


def full(table: Table) -> None:
    """Minutes: SIM-C and both baselines at MM-IMDb's size, beside the oracle."""
    torch.manual_seed(0)
    world = synthetic.like("mmimdb")
    at_full_size(world.sample(synthetic.rows_like("mmimdb"), 0), world, table)
