"""SMCIR: one training step and its detector against the form that goes sample by sample, at the paper's sizes."""

import resource
import time

import numpy as np
import torch
from sklearn.metrics import mutual_info_score

from mmlib.models.smcir import SMCIR
from tests.reference import smcir as slow

B, SAMPLES = 64, {"text": (50, 768), "audio": (375, 5), "vision": (500, 20)}


def features(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(B, *shape, generator=generator) for m, shape in SAMPLES.items()}


def flags() -> dict[str, torch.Tensor]:
    """Sixteen flagged rows: six without vision, six without audio, four without both."""
    states = {m: torch.zeros(B, dtype=torch.long) for m in ("audio", "vision")}
    states["vision"][:6] = states["audio"][6:12] = 1
    states["vision"][12:16] = states["audio"][12:16] = 2
    return states


def detect_one_by_one(system: SMCIR, x: dict[str, torch.Tensor]) -> None:
    """H, MI, S of every sample by itself: NumPy histograms, a loop over time steps for the cosines."""
    with torch.no_grad():
        P = {m: system.dmfd.project[m](v).numpy() for m, v in x.items()}
    for i in range(B):
        L = P["text"][i]
        for m in ("audio", "vision"):
            P_m = P[m][i]
            pooled = slow.pool(torch.from_numpy(P_m), len(L)).numpy()
            norms = np.exp(np.linalg.norm(P_m, axis=1) - np.linalg.norm(P_m, axis=1).max())
            p = norms / norms.sum()
            entropy = -(p * np.log(p)).sum()
            joint = np.histogram2d(pooled.ravel(), L.ravel(), bins=30)[0]
            information = mutual_info_score(None, None, contingency=joint)
            similarity = np.mean([slow.cosine(u, v) for u, v in zip(pooled, L)])
            assert np.isfinite(0.5 * entropy + 0.3 * information + 10 * similarity)


def step(system: SMCIR, x: dict[str, torch.Tensor], states: dict[str, torch.Tensor]) -> torch.Tensor:
    """Generation, fusion and both losses for these rows."""
    out = system.complete(x, states)
    logits = system.head(system.fuse(out).mean(1))
    errors = [(out[m] - x[m])[h > 0].square().sum() for m, h in states.items()]
    return logits.abs().sum() + sum(errors)


def batched(system, x, states) -> None:
    system.zero_grad()
    system.diagnose(x)
    step(system, x, states).backward()


def one_by_one(system, x, states) -> None:
    system.zero_grad()
    detect_one_by_one(system, x)
    for i in range(B):
        row, state = ({m: v[i : i + 1] for m, v in group.items()} for group in (x, states))
        step(system, row, state).backward()


def seconds(work, *arguments) -> float:
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def main() -> None:
    torch.manual_seed(0)
    print(f"SMCIR · torch {torch.__version__}, {torch.get_num_threads()} threads, {B} rows of {SAMPLES}, 16 flagged")
    x, states = features(), flags()
    system = SMCIR({m: shape[1] for m, shape in SAMPLES.items()}, "regression", 1).train()
    seconds(batched, system, x, states)
    # In turns, so that a busy machine slows both.
    detectors = [(seconds(system.diagnose, x), seconds(detect_one_by_one, system, x)) for _ in range(3)]
    fast, looped = (min(t) for t in zip(*detectors))
    print(f"detector {fast:.3f} CPU-seconds, sample by sample in NumPy {looped:.2f}: {looped / fast:.0f}x (wanted 50)")
    steps = [(seconds(batched, system, x, states), seconds(one_by_one, system, x, states)) for _ in range(2)]
    fast, looped = (min(t) for t in zip(*steps))
    print(
        f"step {fast:.2f} CPU-seconds, the same layers sample by sample {looped:.2f}: {looped / fast:.1f}x (wanted 20)"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{sum(p.numel() for p in system.parameters()):,} parameters, at most {peak:.0f} MiB of memory")
