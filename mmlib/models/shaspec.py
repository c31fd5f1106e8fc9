"""ShaSpec: one encoder that all modalities share and one for each; shared features stand in for a missing modality.

Wang, Chen, Ma, Avery, Hull, Carneiro: Multi-modal Learning with Missing Modality via Shared-Specific Feature Modelling
(CVPR 2023). The released code segments brain images; the authors gave out none for classification. Essential to the name:

  encoders      the shared encoder S gives s_m, the specific encoder E_m gives e_m
  composition   f_m = s_m + Linear([s_m ; e_m]), one layer for all modalities; the classifier reads all f_m side by side
  missing       f_m is the mean of the row's available shared features, as in the paper; the released code takes the first
                available one
  losses        task + alpha * the L1 distance between shared features + beta * the cross-entropy with which one linear layer
                tells from e_m which modality it is
  training      stage 'warm': each row with all that it has; 'main': each row keeps a random subset, of a uniform number of
                its modalities, all subsets of this size being equally likely

Free, or different here:

  encoders      the 3-D U-Net becomes networks of two layers on one vector per modality, the mean of its observed frames. S
                needs inputs of one width, so a linear adapter for each modality comes first; E_m reads the vector itself
  distance      over all pairs of modalities that a row has, mean over features and over rows; the released code takes a ring
                of M pairs
  present       both auxiliary losses leave out what a row lacks or what 'main' has hidden; the released code computes them
                for zeros in place of missing modalities, too
  optimiser     that of `training.fit`, Adam; the paper has SGD with momentum

impute='shared' is the method. impute='zeros' is the control, which is not in the paper: the same network with the same
initial weights, stages and losses, and zeros in place of the mean of shared features.
"""

import itertools

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmlib.data.dataset import Batch, frame_mean
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.hiding import subset_of_random_size
from mmlib.models.layers import mlp
from mmlib.names import DataError

Features = Float[Tensor, "B M d"]


class ShaSpec(System):
    """alpha: weight of the distance between shared features. beta: weight of the domain classifier's loss. d: all widths."""

    stages = ("warm", "main")
    modalities = "two or more"
    grid = {"alpha": (0.1, 1.0), "beta": (0.02, 0.2)}

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        impute: str = "shared",
        alpha: float = 0.1,
        beta: float = 0.02,
        d: int = 128,
        dropout: float = 0.1,
    ):
        super().__init__(dims, task, outputs)
        if len(dims) < 2:
            raise DataError(f"ShaSpec is defined for two or more modalities, the data have {', '.join(dims)}")
        check_options("ShaSpec", impute=(impute, ("shared", "zeros")))
        self.zeros, self.alpha, self.beta = impute == "zeros", alpha, beta
        self.adapter = nn.ModuleDict({m: nn.Linear(d_m, d) for m, d_m in dims.items()})
        self.S = mlp(d, d, d)
        self.E = nn.ModuleDict({m: mlp(d_m, d, d) for m, d_m in dims.items()})
        self.compose = nn.Linear(2 * d, d)
        self.domain = nn.Linear(d, len(dims))
        self.head = mlp(len(dims) * d, d, outputs, dropout=dropout)

    def predict(self, batch: Batch) -> Prediction:
        s, e = self.encode(batch)
        f = self.fuse(s, e, self.present(batch)).flatten(1)
        return Prediction(self.head(f), representation=f)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        (s, e), kept = self.encode(batch), self.present(batch)
        if stage == "main":
            kept = subset_of_random_size(kept)
        logits = self.head(self.fuse(s, e, kept).flatten(1))
        return {
            "task": self.task_loss(logits, batch.target),
            "shared": self.alpha * shared_distance(s, kept),
            "domain": self.beta * self.domain_loss(e, kept),
        }

    def encode(self, batch: Batch) -> tuple[Features, Features]:
        """s_m and e_m of every modality; those of a missing one are not to be read."""
        x = {m: frame_mean(batch.x[m], batch.observed[m]) for m in self.dims}
        s = self.S(torch.stack([self.adapter[m](v) for m, v in x.items()], 1))
        return s, torch.stack([self.E[m](v) for m, v in x.items()], 1)

    def present(self, batch: Batch) -> Bool[Tensor, "B M"]:
        return torch.stack([batch.present[m] for m in self.dims], 1)

    def fuse(self, s: Features, e: Features, kept: Bool[Tensor, "B M"]) -> Features:
        """f_m: s_m + Linear([s_m ; e_m]) where the modality is kept, else the mean of the kept s; the control: zeros."""
        f, kept = s + self.compose(torch.cat((s, e), 2)), kept[..., None]
        generated = s.masked_fill(~kept, 0).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
        return torch.where(kept, f, torch.zeros_like(generated) if self.zeros else generated)

    def domain_loss(self, e: Features, kept: Bool[Tensor, "B M"]) -> Float[Tensor, ""]:
        """The cross-entropy of naming the modality of e_m, mean over all specific features that are kept."""
        modality = kept.nonzero()[:, 1]  # (n,)
        return cross_entropy(self.domain(e[kept]), modality, reduction="sum") / kept.sum().clamp(min=1)


def shared_distance(s: Features, kept: Bool[Tensor, "B M"]) -> Float[Tensor, ""]:
    """The sum over pairs of modalities of mean |s_a - s_b| over features and the rows that keep both, 0 without such rows."""
    total = torch.zeros((), device=s.device)
    for a, b in itertools.combinations(range(s.shape[1]), 2):
        both = kept[:, a] & kept[:, b]
        distance = (s[:, a] - s[:, b]).abs().mean(1).masked_fill(~both, 0)
        total = total + distance.sum() / both.sum().clamp(min=1)
    return total
