"""ADMC's variant 'conditional' against the oracle's conditional distribution."""

import torch

from mmlib import missing, synthetic
from mmlib.data.dataset import Dataset
from mmlib.models.admc.system import ADMC
from mmlib.models.yardsticks.oracle import Oracle
from mmlib.synthetic import Modality
from mmlib.training.fit import fit

BLURS = {"text": 0.5, "audio": 1.0, "vision": 1.5}
PATTERNS = missing.all_patterns(3)[:-1]


def conditional_errors(
    dim: int, latent: int, train: int, epochs: int, rows: int, draws: int, **network
) -> dict[tuple[bool, ...], tuple[float, float]]:
    """Variant 'conditional', trained by `fit`, against the oracle: per pattern the relative errors of mean and deviations."""
    world = synthetic.draw("regression", {m: Modality(dim, blur=b) for m, b in BLURS.items()}, latent=latent)
    raw = world.sample({"train": train, "valid": 2, "test": rows})
    data = raw.standardised()
    system = ADMC.for_data(data, encoders="none", variant="conditional", sampler="ddim", steps=50, eta=0.0, **network)
    system.stages = ("adn",)
    fit(system, data, "complete", epochs=epochs, batch_size=256, lr=5e-3, warmup=0.05, decay="linear", progress=False)
    return {tuple(p.tolist()): _errors(system, world, data, raw, p, draws) for p in PATTERNS}


def _errors(
    system: ADMC, world, data: Dataset, raw: Dataset, available: torch.Tensor, draws: int
) -> tuple[float, float]:
    batch = data.view("test").batch(torch.arange(len(data.rows("test"))))
    F = (system.tokens(batch) - system.mean) / system.scale
    rows = torch.arange(len(F)).repeat_interleave(draws)
    generated = system.adn.complete(F[rows], available.expand(len(rows), -1), torch.arange(len(rows)))
    generated = (generated * system.scale + system.mean).view(len(F), draws, *F.shape[1:])
    hidden = raw.view("test").batch(torch.arange(len(F))).without(*(m for m, k in zip(system.dims, available) if not k))
    truth = Oracle(world).complete(hidden)
    errors = torch.zeros(4)  # squared: error of mean, size of mean, error of deviation, size of deviation
    for i, m in enumerate(system.dims):
        if available[i]:
            continue
        train = raw.features[m][raw.rows("train")]
        centre, unit = train.mean((0, 1)), train.std((0, 1), correction=0)
        mean, sd = (truth[m].mean[:, 0] - centre) / unit, truth[m].variance[:, 0].sqrt() / unit
        ours = generated[:, :, i]
        errors += torch.stack([x.square().sum() for x in (ours.mean(1) - mean, mean, ours.std(1) - sd, sd)])
    return float((errors[0] / errors[1]).sqrt()), float((errors[2] / errors[3]).sqrt())
