"""Synthetic multimodal data from a known generative model, so that the best possible prediction can be computed.

One latent z in R^k drives the target and every modality:

    z ~ N(mu_y, I) for multiclass, N(0, I) else
    y = scale (w.z + e)                      regression
    y_c = 1[w_c.z + b_c + e_c > 0]           multilabel, multibinary: a probit, so that P(y_c | x) is a normal CDF
    x_{m,t} = A_m z + B_m u_{m,t} + s_m eps  frames; u_m is an AR(1) factor private to the modality

The nuisance B_m lies in the span of A_m: a modality shows z with a blur, which more frames reduce only as fast as the
AR(1) factor u_m changes. `mmlib.models.yardsticks.oracle` inverts this model.
"""

import inspect
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from mmlib.corpora import IEMOCAP_EMOTIONS, MINTREC_INTENTS, MMIMDB_FILMS, MMIMDB_GENRES
from mmlib.data.dataset import Dataset
from mmlib.names import SPLITS, TASKS, DataError

_HARDLY = 6.0  # blur of a latent that a modality hardly shows, relative to that of a clear one


@dataclass(frozen=True)
class Modality:
    """How one modality depends on the latent.

    dim: width d of a frame. length: longest sequence T (1: a vector).
    blur: standard deviation of the private factor relative to z; the larger, the weaker the modality.
    persistence: AR(1) coefficient of the private factor in [0, 1). noise: standard deviation of the white noise.
    clear: indices of the latents that have this blur; the others have six times as much, so that the modality hardly shows
        them. Empty: each latent has a blur of its own, drawn around `blur`.
    """

    dim: int
    length: int = 1
    blur: float = 1.0
    persistence: float = 0.9
    noise: float = 0.3
    clear: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class World:
    """One generative model with its parameters; `sample` makes datasets from it.

    A, B: per modality (d, k) float64. means (C, k), priors (C,): of the latent's mixture (one component unless
    multiclass). w (C, k), b (C,), sigma: of the target (unused for multiclass). scale: of the regression target.
    aligned: all modalities of a row have the same number of frames.
    """

    name: str
    task: str
    label_names: tuple[str, ...]
    modalities: dict[str, Modality]
    A: dict[str, Tensor]
    B: dict[str, Tensor]
    means: Tensor
    priors: Tensor
    w: Tensor
    b: Tensor
    sigma: float
    scale: float = 1.0
    aligned: bool = False

    @property
    def latent(self) -> int:
        return self.means.shape[1]

    def sample(self, rows: dict[str, int], seed: int = 0) -> Dataset:
        """A dataset with these numbers of rows per split; the same seed gives the same rows.

        Sequences have lengths uniform in T/2..T and are padded at the end.
        """
        if set(rows) != set(SPLITS):
            raise DataError(f"{self.name}: rows must name exactly the splits {', '.join(SPLITS)}, got {sorted(rows)}")
        generator = torch.Generator().manual_seed(seed)
        n = sum(rows.values())
        component = torch.multinomial(self.priors, n, replacement=True, generator=generator)
        z = self.means[component] + torch.randn(n, self.latent, dtype=torch.float64, generator=generator)
        features, observed = {}, {}
        for m, shape in self.modalities.items():
            if not (self.aligned and observed):
                real = _real_frames(n, shape.length, generator)
            features[m], observed[m] = self._sequence(m, z, real, generator), real
        return Dataset(
            name=self.name,
            task=self.task,
            features=features,
            observed=observed,
            target=self._target(z, component, generator),
            split=np.concatenate([np.full(rows[s], s) for s in SPLITS]),
            ids=np.array([f"{s}-{i:06d}" for s in SPLITS for i in range(rows[s])]),
            label_names=self.label_names,
            provenance={
                "name": self.name,
                "features": {m: f"synthetic, blur {shape.blur:g}" for m, shape in self.modalities.items()},
                "source": f"mmlib.synthetic, sample seed {seed}",
            },
        )

    def _sequence(self, m: str, z: Tensor, real: Tensor, generator: torch.Generator) -> Tensor:
        shape, n, k = self.modalities[m], len(z), self.latent
        x = torch.empty(n, shape.length, shape.dim)
        clean = z @ self.A[m].T  # (n, d)
        u = torch.randn(n, k, dtype=torch.float64, generator=generator)
        for t in range(shape.length):
            if t > 0:
                innovation = torch.randn(n, k, dtype=torch.float64, generator=generator)
                u = shape.persistence * u + math.sqrt(1 - shape.persistence**2) * innovation
            white = torch.randn(n, shape.dim, generator=generator)
            x[:, t] = (clean + u @ self.B[m].T).float() + shape.noise * white
        return x.masked_fill(~real[..., None], 0)

    def _target(self, z: Tensor, component: Tensor, generator: torch.Generator) -> Tensor:
        if self.task == "multiclass":
            return component
        score = z @ self.w.T + self.b  # (n, C)
        score = score + self.sigma * torch.randn(score.shape, dtype=torch.float64, generator=generator)
        return (self.scale * score).squeeze(1).float() if self.task == "regression" else (score > 0).float()


def _real_frames(n: int, length: int, generator: torch.Generator) -> Tensor:
    """Which frames are not padding, (n, T)."""
    lengths = torch.full((n,), 1)
    if length > 1:
        lengths = torch.randint(math.ceil(length / 2), length + 1, (n,), generator=generator)
    return torch.arange(length) < lengths[:, None]


def draw(
    task: str,
    modalities: dict[str, Modality],
    *,
    prevalence: dict[str, float] | None = None,
    latent: int = 8,
    separation: float = 2.5,
    sigma: float = 0.2,
    scale: float = 1.0,
    even: bool = False,
    aligned: bool = False,
    name: str = "synthetic",
    seed: int = 0,
) -> World:
    """Draws the parameters of a world.

    prevalence: per label its share of positive rows (multilabel, multibinary) or its share of rows (multiclass).
    separation: distance of the class means from the origin. sigma: label noise relative to a unit w.z.
    even: the entries of w differ in sign alone, so that every latent matters as much. aligned: as in World.
    Raises DataError for a task that does not exist, labels that do not fit it, a clear latent that does not exist, and
    aligned modalities of different length.
    """
    if task not in TASKS:
        raise DataError(f"{name}: task {task!r} is not one of {', '.join(TASKS)}")
    if (task == "regression") != (prevalence is None):
        raise DataError(f"{name}: prevalence must be given for {task!r} unless it is regression")
    if wrong := [m for m, shape in modalities.items() if not set(shape.clear) <= set(range(latent))]:
        raise DataError(f"{name}: {wrong[0]} shows latents {modalities[wrong[0]].clear}, there are {latent}")
    if aligned and len({shape.length for shape in modalities.values()}) > 1:
        raise DataError(f"{name}: modalities of different length cannot be aligned")
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    A, B = {}, {}
    for m, shape in modalities.items():
        A[m] = normal(shape.dim, latent) / math.sqrt(latent)
        # Each modality blurs some latents more than others, so that two modalities complement each other.
        if shape.clear:
            clear = torch.isin(torch.arange(latent), torch.tensor(shape.clear))
            uneven = torch.where(clear, 1.0, _HARDLY).double()
        else:
            uneven = (0.5 * normal(latent)).exp()
            uneven = uneven / uneven.square().mean().sqrt()
        B[m] = A[m] * (shape.blur * uneven)
    labels = ("value",) if prevalence is None else tuple(prevalence)
    share = torch.ones(1, dtype=torch.float64)
    means, w, b = torch.zeros(1, latent, dtype=torch.float64), torch.zeros(0, latent), torch.zeros(0)
    if task == "multiclass":
        share = torch.tensor(list(prevalence.values()), dtype=torch.float64)
        share = share / share.sum()
        means = separation * torch.nn.functional.normalize(normal(len(labels), latent), dim=1)
    else:
        w = normal(len(labels), latent)
        w = torch.nn.functional.normalize(w.sign() if even else w, dim=1)
        b = torch.zeros(len(labels), dtype=torch.float64)
        if prevalence is not None:
            b = torch.from_numpy(ndtri(list(prevalence.values()))) * math.sqrt(1 + sigma**2)
    return World(name, task, labels, dict(modalities), A, B, means, share, w, b, sigma, scale, aligned)


@dataclass(frozen=True)
class _Shape:
    """What `like` makes a world of: task, modalities, label shares and split sizes."""

    task: str
    modalities: dict[str, Modality]
    rows: tuple[int, int, int]
    prevalence: dict[str, float] | None = None
    latent: int = 8
    other: dict[str, Any] = field(default_factory=dict)


SHAPES = {
    "mmimdb": _Shape(
        "multilabel", {"image": Modality(512, blur=1.0), "text": Modality(512, blur=0.5)}, (15_552, 2_608, 7_799),
        {genre: films / MMIMDB_FILMS for genre, films in MMIMDB_GENRES.items()}, other={"sigma": 0.4},
    ),
    "mosi": _Shape(
        "regression",
        {"text": Modality(768, 50, blur=0.8), "audio": Modality(5, 50, blur=3.0), "vision": Modality(20, 50, blur=2.0)},
        (1_284, 229, 686), latent=4, other={"scale": 1.5},
    ),
    "iemocap": _Shape(
        "multiclass",
        {"text": Modality(1024, 22, blur=1.5), "audio": Modality(130, 50, blur=2.5), "vision": Modality(342, 50, blur=3.0)},
        (4_446, 557, 528),
        {emotion: rows / sum(IEMOCAP_EMOTIONS.values()) for emotion, rows in IEMOCAP_EMOTIONS.items()}, latent=6,
    ),
    "iemocap_binary": _Shape(
        "multibinary",
        {"text": Modality(300, 20, blur=1.0), "audio": Modality(74, 20, blur=1.5), "vision": Modality(35, 20, blur=2.5)},
        (2_717, 798, 938), {"neutral": 0.35, "happy": 0.14, "sad": 0.2, "angry": 0.24}, latent=6,
    ),
    "mintrec": _Shape(
        "multiclass",
        {"text": Modality(768, 30, blur=1.2), "audio": Modality(768, 48, blur=4.0), "vision": Modality(256, 23, blur=4.0)},
        (1_334, 445, 445),
        {intent: clips / sum(MINTREC_INTENTS.values()) for intent, clips in MINTREC_INTENTS.items()},
        latent=10, other={"separation": 4.0},
    ),
    "reviews": _Shape(
        "regression",
        {
            "text": Modality(24, 12, blur=0.7, persistence=0.3, clear=(0, 1, 2, 3)),
            "audio": Modality(16, 12, blur=0.7, persistence=0.3, clear=(0, 4, 5)),
            "vision": Modality(16, 12, blur=0.7, persistence=0.3, clear=(0, 6, 7)),
        },
        (1_200, 400, 1_000), other={"scale": 1.5, "even": True, "aligned": True},
    ),
}  # fmt: skip
"""Worlds with the shapes of the papers' data sets (audio and video of MIntRec at a tenth of their length), and "reviews".

"reviews" copies no data set: every modality matters given the others. Its target depends on eight latents alike. Text
shows four of them, audio and vision three each; one is in all three modalities, two are in audio alone and two in vision
alone. By the oracle, complete clips have about 12 points of F1 more than text alone, and text with audio or vision about 7.
"""


def like(name: str, /, *, dim: int | None = None, length: int | None = None, seed: int = 0, **changes: Any) -> World:
    """A world with one of the SHAPES.

    dim, length: upper limits of every modality's width and length, for small examples.
    changes: arguments of `draw` that differ. Raises DataError for an unknown shape or argument.
    """
    shape = _shape(name)
    modalities = {
        m: replace(v, dim=min(v.dim, dim or v.dim), length=min(v.length, length or v.length))
        for m, v in shape.modalities.items()
    }
    arguments = {"prevalence": shape.prevalence, "latent": shape.latent, **shape.other, **changes}
    unknown = set(changes) - (set(inspect.signature(draw).parameters) - {"task", "name"})
    if unknown:
        raise DataError(f"synthetic.like: unknown argument {sorted(unknown)[0]!r}")
    return draw(shape.task, **{"modalities": modalities, **arguments}, name=f"synthetic {name}", seed=seed)


def rows_like(name: str, fraction: float = 1.0) -> dict[str, int]:
    """Rows per split of the data set that a shape copies, times `fraction`."""
    return {s: max(1, round(n * fraction)) for s, n in zip(SPLITS, _shape(name).rows)}


def _shape(name: str) -> _Shape:
    if name not in SHAPES:
        raise DataError(f"no synthetic shape {name!r}; there are {', '.join(SHAPES)}")
    return SHAPES[name]
