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
from tests.helpers.conditional import BLURS, PATTERNS, conditional_errors

ROWS, BATCH = 5_531, 320
STEPS = 20  # so many of the paper's 1000 are timed


def cpu_seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def all_patterns_of_a_data_set() -> None:
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
    print(f"completion of {ROWS} x 3 x 256 under six patterns, CPU time:")
    print(
        f"  per pattern and batch of {BATCH} {text:,.0f} s (from {STEPS} steps), shared with 1000 steps {ddpm:,.0f} s (from 3)"
    )
    print(f"  shared with DDIM {ddim:.0f} s, from disk {again:.1f} s")
    print(
        f"  ratios: 1000 steps {text / ddpm:.1f}x, DDIM {text / ddim:.0f}x (wanted 20x), from disk {text / again:,.0f}x"
    )


def few_steps_against_all() -> None:
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
    print(f"mean UA over six sets: 1000 steps {means['ddpm']:.2f}, 25 steps of DDIM {means['ddim']:.2f}, "
          f"difference {means['ddim'] - means['ddpm']:+.2f} points (wanted within 1)")  # fmt: skip


def replacement_is_not_conditioning() -> None:
    """The procedure with the best possible denoiser, in closed form, on the Gaussian world of `conditional_errors`."""
    world = synthetic.draw("regression", {m: Modality(8, blur=b) for m, b in BLURS.items()}, latent=4)
    mean, S = gaussian.moments(world)
    unit = S.diagonal().sqrt()
    mean, S = mean / unit, S / unit / unit[:, None]
    given = (torch.tensor([True, False, False]), torch.tensor([True, True, False]))
    print("relative error of conditional mean and deviations with the exact denoiser, given text | text and audio:")
    for start, resample in ((50, 1), (1000, 1), (1000, 4)):
        adn = ADN(3, 8, start=start, resample=resample)
        adn.denoiser = gaussian.Denoiser(mean, S, adn.abar)
        errors = [gaussian.completion_errors(adn, mean, S, p) for p in given]
        name = f"merging from n = {start}" + (f", each step {resample} times" if resample > 1 else "")
        print(f"  {name:38}", " | ".join(f"mean {100 * m:5.1f} %, deviations {100 * sd:4.1f} %" for m, sd in errors))


def conditional_against_the_oracle() -> None:
    errors = conditional_errors(8, 4, train=40_000, epochs=30, rows=20, draws=1000, width=64, heads=4, layers=2)
    print("variant 'conditional' against the oracle, 1000 draws (wanted: mean within 10 %, deviations within 15 %):")
    for pattern, (mean, sd) in errors.items():
        there = ", ".join(m for m, known in zip(BLURS, pattern) if known)
        print(f"  given {there:15} mean {100 * mean:5.1f} %   deviations {100 * sd:5.1f} %")


def main() -> None:
    all_patterns_of_a_data_set()
    few_steps_against_all()
    replacement_is_not_conditioning()
    conditional_against_the_oracle()
