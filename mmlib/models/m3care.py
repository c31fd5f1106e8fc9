"""M3Care: similar rows stand in for a missing modality, and enhance those that are there.

Zhang, Chu, Ma, Zhu, Wang, Wang, Zhao: M3Care: Learning with Missing Modalities in Multimodal Healthcare Data (KDD 2022).
Essential to the name:

  similarity    for each modality K = (1 - s) K1 + s K2: K1 is a kernel on phi_m(h_m), a network of three layers, K2 one on
                h_m, s is learned. A is the mean of K over the modalities that both rows have
  threshold     A <= theta becomes 0, theta is learned
  graph         for each modality two graph convolutions over the rows that have it give g_m, also to rows that lack it
  tokens        w1 g_m + w2 h_m for a modality that the row has, w1 a sigmoid of a linear map of g_m and w2 one of h_m, both
                divided by their sum; g_m for a modality that it lacks
  fusion        type embeddings, two transformer layers over the tokens of a row, concatenation, classifier
  losses        task + a tiny weight * sum over m of | |phi_m(h_m)| - |h_m| |

Free, or different here:

  encoders      h_m: two layers on one vector per modality, the mean of its observed frames
  K1, K2        mean of five Gaussian kernels around the mean squared distance between rows of the graph that have m. The
                released code multiplies, ((1 - s) K1 + s) K2
  theta         relu(A - theta) + theta for what is left, as described. The theta that is added back counts as a constant for
                gradients: otherwise the two would cancel, and theta would never change
  convolution   each row takes the mean over its neighbours, weighed by A. A row without any takes zeros
  norm term     mean over the rows that have m; its weight 1e-7 is that of the released code for one data set
  cost          distances between all pairs of rows, twice for each modality, and a transformer: about five times a step of AE
  optimiser     that of `training.fit`, Adam without weight decay by default; the paper has batches of 512 rows

reference='batch', as published: the graph is that of the batch, so that a prediction depends on the other rows of its batch.
reference='bank' is not in the paper: training is the same, but each row to be predicted is completed on its own, from itself
and random training rows, which are drawn once and are part of the model: a saved model contains their features. Without a
graph (impute='zeros') it has no effect.

impute='graph' is the method. impute='zeros' is the control, which is not in the paper: the same encoders, fusion and initial
weights without any graph, with h_m as it is, zeros for a missing modality, and the task loss alone.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, View, frame_mean
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.layers import TransformerEncoder, mlp

_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
_OF_GRAPH = ("phi.", "mix", "threshold", "graph.", "score_graph.", "score_own.")


class Rows(NamedTuple):
    """n rows, per modality: h_m and phi_m(h_m) (n, d), and whether a row has the modality (n,)."""

    h: dict[str, Float[Tensor, "n d"]]
    phi: dict[str, Float[Tensor, "n d"]]
    present: dict[str, Bool[Tensor, "n"]]


class M3Care(System):
    """bank: number of rows of the bank. norm: weight of the norm term. layers, heads: of the transformer. d: all widths."""

    hides_nothing = True

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        reference: str = "batch",
        impute: str = "graph",
        bank: int = 256,
        norm: float = 1e-7,
        d: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
    ):
        super().__init__(dims, task, outputs)
        check_options("M3Care", reference=(reference, ("batch", "bank")), impute=(impute, ("graph", "zeros")))
        self.zeros, self.has_bank, self.norm = impute == "zeros", reference == "bank", norm
        self.batch_dependent = not (self.zeros or self.has_bank)
        self.encode = nn.ModuleDict({m: mlp(d_m, d, d) for m, d_m in dims.items()})
        self.phi = nn.ModuleDict({m: mlp(d, d, d, d) for m in dims})
        self.mix = nn.Parameter(torch.zeros(len(dims)))  # s is their sigmoid
        self.threshold = nn.Parameter(torch.zeros(()))  # theta is its sigmoid
        self.graph = nn.ModuleDict({m: nn.ModuleList([nn.Linear(d, d), nn.Linear(d, d)]) for m in dims})
        self.score_graph = nn.ModuleDict({m: nn.Linear(d, 1) for m in dims})
        self.score_own = nn.ModuleDict({m: nn.Linear(d, 1) for m in dims})
        self.kind = nn.Parameter(0.02 * torch.randn(len(dims), d))  # type embeddings
        self.tokens = TransformerEncoder(d, heads, layers, dropout)
        self.head = mlp(len(dims) * d, d, outputs, dropout=dropout)
        if self.has_bank:
            self.register_buffer("key", torch.randint(2**62, ()))
            self.register_buffer("bank_present", torch.zeros(len(dims), bank, dtype=torch.bool))
            for i, d_m in enumerate(dims.values()):
                self.register_buffer(f"bank_{i}", torch.zeros(bank, d_m))

    def setup(self, train: View) -> None:
        """Draws the bank: as many rows as there are, up to its size; the choice depends on the seed of the system alone."""
        if not self.has_bank:
            return
        generator = torch.Generator().manual_seed(int(self.key))
        batch = train.batch(torch.randperm(len(train), generator=generator)[: self.bank_present.shape[1]].to(self.key))
        self.bank_present.zero_()
        for i, m in enumerate(self.dims):
            self.get_buffer(f"bank_{i}")[: len(batch)] = frame_mean(batch.x[m], batch.observed[m])
            self.bank_present[i, : len(batch)] = batch.present[m]

    def predict(self, batch: Batch) -> Prediction:
        bank = None
        if self.has_bank and not self.zeros:
            x = {m: self.get_buffer(f"bank_{i}") for i, m in enumerate(self.dims)}
            bank = self.embed(x, dict(zip(self.dims, self.bank_present)))
        return self.decide(self.rows(batch), bank)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        rows = self.rows(batch)
        terms = {"task": self.task_loss(self.decide(rows, None).logits, batch.target)}
        if not self.zeros:
            terms["norm"] = self.norm * sum(_norm_gap(rows.phi[m], rows.h[m], rows.present[m]) for m in self.dims)
        return terms

    def rows(self, batch: Batch) -> Rows:
        return self.embed({m: frame_mean(batch.x[m], batch.observed[m]) for m in self.dims}, batch.present)

    def embed(self, x: dict[str, Float[Tensor, "n _"]], present: dict[str, Bool[Tensor, "n"]]) -> Rows:
        h = {m: self.encode[m](x[m]) for m in self.dims}
        return Rows(h, {m: self.phi[m](h[m]) for m in self.dims}, present)

    def decide(self, rows: Rows, bank: Rows | None) -> Prediction:
        """Tokens of all modalities, transformer, classifier."""
        tokens = torch.stack([*self.complete(rows, bank).values()], 1)  # (B, M, d)
        H = self.tokens(tokens + self.kind).flatten(1)
        return Prediction(self.head(H), representation=H)

    def complete(self, rows: Rows, bank: Rows | None) -> dict[str, Float[Tensor, "B d"]]:
        """For each modality between g_m and h_m where the row has it, else g_m; the control: h_m, else zeros."""
        present = {m: rows.present[m][:, None] for m in self.dims}
        if self.zeros:
            return {m: h.masked_fill(~present[m], 0) for m, h in rows.h.items()}
        tokens = {}
        for m, g in self.aggregate(rows, bank).items():
            w1, w2 = self.score_graph[m](g).sigmoid(), self.score_own[m](rows.h[m]).sigmoid()
            tokens[m] = torch.where(present[m], (w1 * g + w2 * rows.h[m]) / (w1 + w2), g)
        return tokens

    def aggregate(self, rows: Rows, bank: Rows | None) -> dict[str, Float[Tensor, "B d"]]:
        """g_m: two graph convolutions. Without a bank the neighbours of a row are those of `rows`, itself included.

        With a bank they are its rows and the row itself; the neighbours of a row of the bank are in the bank alone.
        """
        nodes = rows if bank is None else bank
        A = self.similarity(rows, nodes)  # (B, N)
        between = A if bank is None else self.similarity(bank, bank)  # (N, N)
        g = {}
        for m, (first, second) in self.graph.items():
            has = nodes.present[m]
            alone = (rows.present[m] & (bank is not None)).float()[:, None]  # in a batch A has the row itself
            own = first(_mean(A, nodes.h[m], has, alone, rows.h[m])).relu()
            states = own if bank is None else first(_mean(between, nodes.h[m], has)).relu()
            g[m] = second(_mean(A, states, has, alone, own))
        return g

    def similarity(self, rows: Rows, nodes: Rows) -> Float[Tensor, "B N"]:
        """A: mean of the kernels over the modalities that both rows have, 0 where it is not above theta."""
        total, common = 0.0, 0
        for m, s in zip(self.dims, self.mix.sigmoid()):
            both = rows.present[m][:, None] & nodes.present[m]
            K1, K2 = (kernel(a[m], b[m], nodes.present[m]) for a, b in ((rows.phi, nodes.phi), (rows.h, nodes.h)))
            total = total + ((1 - s) * K1 + s * K2).masked_fill(~both, 0)
            common = common + both.int()
        A, theta = total / common.clamp(min=1), self.threshold.sigmoid()
        return (A - theta + theta.detach()).masked_fill(A <= theta, 0)

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        return [p for name, p in self.named_parameters() if not (self.zeros and name.startswith(_OF_GRAPH))]


def kernel(x: Float[Tensor, "B d"], nodes: Float[Tensor, "N d"], has: Bool[Tensor, "N"]) -> Float[Tensor, "B N"]:
    """Mean of Gaussian kernels; bandwidths are multiples of the mean squared distance of pairs among the nodes in `has`."""
    y, n = nodes.detach(), has.sum()
    deviation = (y - y.masked_fill(~has[:, None], 0).sum(0) / n.clamp(min=1)).masked_fill(~has[:, None], 0)
    width = (2 * deviation.square().sum() / (n - 1).clamp(min=1)).clamp(min=1e-6)  # twice the variance
    # Without matrix products, which would lose small distances and the 0 between a row and itself.
    distance = torch.cdist(x, nodes, compute_mode="donot_use_mm_for_euclid_dist").square()
    return sum(torch.exp(-distance / (c * width)) for c in _BANDWIDTHS) / len(_BANDWIDTHS)


def _mean(
    A: Float[Tensor, "B N"], states: Float[Tensor, "N d"], has: Bool[Tensor, "N"],
    alone: Float[Tensor, "B 1"] | float = 0.0, own: Float[Tensor, "B d"] | float = 0.0,
) -> Float[Tensor, "B d"]:  # fmt: skip
    """The mean, weighed by A, of the states of the nodes in `has`, and of the row's own with weight `alone`; else zeros."""
    A = A.masked_fill(~has, 0)
    return (A @ states + alone * own) / (A.sum(1, keepdim=True) + alone).clamp(min=1e-6)


def _norm_gap(phi: Float[Tensor, "B d"], h: Float[Tensor, "B d"], present: Bool[Tensor, "B"]) -> Float[Tensor, ""]:
    """Mean of | |phi| - |h| | over the rows that have the modality."""
    return (phi.norm(dim=1) - h.norm(dim=1)).abs().masked_fill(~present, 0).sum() / present.sum().clamp(min=1)
