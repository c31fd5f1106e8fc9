"""ADMC's completion: its cost against the paper's text, few steps against all, and its distance to the exact one."""

import tempfile
import time

import torch

from mmlib import synthetic
from mmlib.models.admc import gaussian
from mmlib.models.admc.diffusion import ADN
from mmlib.models.admc.row_cache import RowCache
from mmlib.models.admc.system import ADMC
from mmlib.synthetic import Modality
from mmlib.training.evaluate import evaluate
from mmlib.training.fit import fit
from tests.bench.table import Table
from tests.helpers.conditional import BLURS, PATTERNS, conditional_errors

ROWS, BATCH = 5_531, 320
STEPS = 20  # so many of the paper's 1000 are timed


def cpu_seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def all_patterns_of_a_data_set(table: Table) -> None:
    """5,531 rows x 3 x 256, six incomplete patterns, the paper's network."""
    torch.manual_seed(0)
    adn, F = ADN(3, 256), torch.randn(ROWS, 3, 256)

    def as_the_text(steps: int) -> None:  # one pattern, one batch of 320: some of its steps
        batch = F[:BATCH]
        for n in range(steps, 0, -1):
            batch = adn.reverse(batch, n, n - 1, batch)

    def shared(rows: int, steps: int) -> None:
        some = F[:rows]
        for n in range(steps, 0, -1):
            some = adn.reverse(some, n, n - 1, some)

    with torch.no_grad():
        as_the_text(2)
        text = cpu_seconds(lambda: as_the_text(STEPS)) / STEPS * adn.N * len(PATTERNS) * -(-ROWS // BATCH)
        per_row = cpu_seconds(lambda: shared(4096, 3)) / 3 / 4096
        ddpm = per_row * ROWS * (adn.N - adn.start + len(PATTERNS) * adn.start)
    adn.sampler = "ddim"
    key = torch.arange(ROWS).repeat_interleave(len(PATTERNS))
    tokens, available = F[key], PATTERNS.repeat(ROWS, 1)
    with tempfile.TemporaryDirectory() as folder:
        names = [i.to_bytes(4) for i in range(len(key))]

        def ours() -> None:
            RowCache(folder).get("bench", names, lambda rows: adn.complete(tokens[rows], available[rows], key[rows]))

        ddim, again = cpu_seconds(ours), cpu_seconds(ours)
    size = f"{ROWS} x 3 x 256, six sets"
    table.add("admc", size, "completion, all steps shared", ddpm, "s", against="per set and batch", ratio=ddpm / text)
    table.add(
        "admc", size, "completion, DDIM", ddim, "s", against="per set and batch", ratio=ddim / text, wanted="<= 0.05"
    )
    table.add("admc", size, "completion from disk", again, "s", against="per set and batch", ratio=again / text)


def few_steps_against_all(table: Table) -> None:
    """Mean UA over six sets of modalities: encoders and diffusion trained once, fusion on each sampler's completions."""
    data = (
        synthetic.like("iemocap", dim=16, length=6).sample({"train": 1500, "valid": 500, "test": 2000}).standardised()
    )
    conditions = [f"available({', '.join(m for m, k in zip(data.modalities, p) if k)})" for p in PATTERNS.tolist()]
    settings = {"batch_size": 64, "lr": 1e-3, "warmup": 0.1, "decay": True}
    means = {}
    system = ADMC.for_data(data, d=32, layers=2, heads=4, fusion_layers=1, sampler="ddim", steps=25)
    first, fusion = system.stages[:4], tuple(s for s in system.stages[4:-1] if s != "mf text+audio+vision")
    system.stages = first
    fit(system, data, "complete", epochs={"itfn": 15, "adn": 60}, **settings)
    start = {k: v.clone() for k, v in system.mf.state_dict().items()}
    for sampler in ("ddpm", "ddim"):
        system.stages, system.adn.sampler = fusion, sampler
        system.mf.load_state_dict(start)
        fit(system, data, "complete", epochs=15, **settings)
        means[sampler] = 100 * sum(evaluate(system, data, c)["ua"] for c in conditions) / len(conditions)
    difference = means["ddim"] - means["ddpm"]
    table.add("admc", "mean UA over six sets", "25 steps for 1000", difference, "points", wanted="-1 to 1")


def replacement_is_not_conditioning(table: Table) -> None:
    """The procedure with the best possible denoiser, in closed form, on the Gaussian world of `conditional_errors`."""
    world = synthetic.draw("regression", {m: Modality(8, blur=b) for m, b in BLURS.items()}, latent=4)
    mean, S = gaussian.moments(world)
    unit = S.diagonal().sqrt()
    mean, S = mean / unit, S / unit / unit[:, None]
    given = (torch.tensor([True, False, False]), torch.tensor([True, True, False]))
    for start, resample in ((50, 1), (1000, 1), (1000, 4)):
        adn = ADN(3, 8, start=start, resample=resample)
        adn.denoiser = gaussian.Denoiser(mean, S, adn.abar)
        errors = [gaussian.completion_errors(adn, mean, S, p) for p in given]
        name = f"exact denoiser, n = {start}" + (f", {resample} times" if resample > 1 else "")
        for what, (mean_error, deviation_error) in zip(("text", "text, audio"), errors):
            table.add("admc", f"given {what}", f"error of mean, {name}", 100 * mean_error, "%")
            table.add("admc", f"given {what}", f"error of deviations, {name}", 100 * deviation_error, "%")


def conditional_against_the_oracle(table: Table) -> None:
    errors = conditional_errors(8, 4, train=40_000, epochs=30, rows=20, draws=1000, width=64, heads=4, layers=2)
    for pattern, (mean, sd) in errors.items():
        there = ", ".join(m for m, known in zip(BLURS, pattern) if known)
        table.add("admc", f"given {there}", "conditional, error of mean", 100 * mean, "%", wanted="<= 10")
        table.add("admc", f"given {there}", "conditional, error of deviations", 100 * sd, "%", wanted="<= 15")


def main(table: Table) -> None:
    for part in (
        all_patterns_of_a_data_set,
        few_steps_against_all,
        replacement_is_not_conditioning,
        conditional_against_the_oracle,
    ):
        part(table)
