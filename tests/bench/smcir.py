"""SMCIR: one training step and its detector against the slow reference and against the same layers row by row."""

import time

import torch

from mmlib.models.smcir.system import SMCIR
from tests.bench.table import Table
from tests.helpers.smcir_weights import weights
from tests.reference import smcir as slow

B, SHAPES = 64, {"text": (50, 768), "audio": (375, 5), "vision": (500, 20)}
KINDS = {(0, 0): 48, (0, 1): 6, (1, 0): 6, (2, 2): 4}  # states of audio and vision: rows; sixteen are flagged


def step(system: SMCIR, x: dict[str, torch.Tensor], states: dict[str, torch.Tensor]) -> None:
    """Generation, fusion, head and the gradient of what stands for both losses."""
    out = system.complete(x, states)
    logits = system.head(system.fuse(out).mean(1))
    errors = [(out[m] - x[m])[h > 0].square().sum() for m, h in states.items()]
    (logits.abs().sum() + sum(errors)).backward()


def row_by_row(system: SMCIR, x: dict[str, torch.Tensor], states: dict[str, torch.Tensor]) -> None:
    for i in range(B):
        step(system, *({m: v[i : i + 1] for m, v in group.items()} for group in (x, states)))


def slow_detector(w: dict[str, torch.Tensor], sample: dict[str, torch.Tensor]) -> None:
    slow.diagnose({k: v.detach() for k, v in w.items()}, [sample], slow.Config(heads=4))


def slow_step(w: dict[str, torch.Tensor], sample: dict[str, torch.Tensor], kind: tuple[int, int]) -> None:
    """What `step` does for one row, in the reference's loops."""
    states = dict(zip(("audio", "vision"), kind))
    out = slow.complete(w, sample, states, slow.Config(heads=4))
    logit = slow.head(w, slow.fuse(w, out), [True] * len(sample["text"]))
    errors = [(out[m] - sample[m]).square().sum() for m, h in states.items() if h]
    (logit.abs().sum() + sum(errors)).backward()


def seconds(work, *arguments) -> float:
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def main(table: Table) -> None:
    torch.manual_seed(0)
    x = {m: torch.randn(B, *shape) for m, shape in SHAPES.items()}
    kinds = torch.tensor([k for k, count in KINDS.items() for _ in range(count)])
    states = {"audio": kinds[:, 0], "vision": kinds[:, 1]}
    system = SMCIR({m: shape[1] for m, shape in SHAPES.items()}, "regression", 1).train()
    w = {k: v.double().clone().requires_grad_() for k, v in weights(system).items()}
    sample = {m: v[0].double() for m, v in x.items()}
    seconds(step, system, x, states)
    # In turns, so that a busy machine slows both; the reference for one row of each kind, times their number.
    detectors = [(seconds(system.diagnose, x), B * seconds(slow_detector, w, sample)) for _ in range(3)]
    fast, looped = (min(t) for t in zip(*detectors))
    size, slow_form = f"{B} clips, 16 flagged", "the slow reference"
    table.add(
        "smcir", size, "the detector", 1000 * fast, "ms", against=slow_form, ratio=fast / looped, wanted="<= 0.02"
    )
    whole = fast + min(seconds(step, system, x, states) for _ in range(3))
    reference = looped + sum(count * seconds(slow_step, w, sample, kind) for kind, count in KINDS.items())
    table.add("smcir", size, "a step", 1000 * whole, "ms", against=slow_form, ratio=whole / reference, wanted="<= 0.05")
    rows, batched = seconds(row_by_row, system, x, states), whole - fast
    table.add(
        "smcir", size, "a step without detector", 1000 * batched, "ms", against="row by row", ratio=batched / rows
    )
