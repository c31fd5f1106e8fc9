"""PmcmFL: the prototype of a class stands in for a missing modality.

Bao, Zhang, Miao, Gong, Hu: Multimodal Federated Learning with Missing Modality via Prototype Mask and Contrast (2023).
Trained by `training.fit` it is the system of one client, "PmcmFL-central". In the paper many clients share weights and
prototypes: `mmlib.federated.fit_federated`, in whose rounds a client has the server's prototypes in its first epoch and its
own ones afterwards.

Essential to the name:

  prototypes  per class the mean representation of each modality and of the fusion, over the training rows that have all
              modalities, anew before each epoch from the second on; a class without such rows has none
  mask        in training a missing representation is the prototype of the row's own class: label information, which a
              prediction must not have
  contrast    cross-entropy of a representation's cosines with the prototypes, at the fixed scale 1 / .07

Free, or different here:

  prediction  the paper claims a strategy for rows with one modality, and its released code has no rule that picks a prototype.
              Ours: the class whose prototypes are nearest to what the row has, by the mean cosine over its modalities
  classes     with several labels the mask is the mean over the row's labels, and so is the contrast; the released code takes
              the first label alone. The contrast is against the prototypes of all classes, not of the batch's rows
  hiding      a row trains with a random set of its modalities, all non-empty sets equally likely; the paper's clients have
              their own missing modalities
  task        of several labels the sum of the binary cross-entropies, as in the code
  encoders    the mean over observed frames, then one hidden layer; BEiT-3 in the paper
  several     more than two modalities are concatenated as two are

impute='zeros' is the control, which is not in the paper: the same network, initial weights and losses, with zeros in place of
a missing representation ('prototypes': the method). So what it gains is what the prototypes as stand-ins are worth.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, View, frame_mean
from mmlib.missing.patterns import all_patterns, availability
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.hiding import random_subset
from mmlib.models.layers import mlp
from mmlib.names import DataError

_SCALE = 1 / 0.07
Codes = Float[Tensor, "B M d"]


class PmcmFL(System):
    """d: width of a representation. weight, single: of the contrast of the fusion, and of each modality."""

    tasks = ("multiclass", "multilabel", "multibinary")
    modalities = "two or more"
    grid = {"weight": (0.01, 0.1)}

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *,
        d: int = 128, weight: float = 0.01, single: float = 1e-8, impute: str = "prototypes", dropout: float = 0.1,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        if task not in self.tasks:
            raise DataError(f"PmcmFL has a prototype for each class, so it is not defined for {task}")
        if len(dims) < 2:
            raise DataError(f"PmcmFL is defined for two or more modalities, the data have {', '.join(dims)}")
        check_options("PmcmFL", impute=(impute, ("prototypes", "zeros")))
        self.weight, self.single, self.zeros, M = weight, single, impute == "zeros", len(dims)
        self.encoders = nn.ModuleDict({m: mlp(i, d, d, dropout=dropout) for m, i in dims.items()})
        self.norms = nn.ModuleDict({m: nn.LayerNorm(d) for m in dims})
        self.fusion = nn.Linear(M * d, d)
        self.head = nn.Sequential(nn.Linear(d, 2 * d), nn.LayerNorm(2 * d), nn.GELU(), nn.Linear(2 * d, outputs))
        self.register_buffer("patterns", all_patterns(M), persistent=False)
        self.register_buffer("prototypes", torch.zeros(M + 1, outputs, d))  # the last ones are those of the fusion
        self.register_buffer("prototypes_count", torch.zeros(outputs))
        self._train: View | None = None

    def predict(self, batch: Batch) -> Prediction:
        codes, present = self.encode(batch), availability(batch.observed)
        H = self.fuse(self.masked(codes, present, self.nearest(codes, present)))
        return Prediction(self.head(H), representation=H)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The task and, once there are prototypes, the contrast of the fusion and of the modalities that a row keeps."""
        classes, present = self.classes(batch.target), availability(batch.observed)
        kept, codes = random_subset(self.patterns, present), self.encode(batch)
        H = self.fuse(self.masked(codes, kept, classes))
        terms = {"task": self.task_loss(self.head(H), batch.target, "sum")}
        if bool(self.prototypes_count.any()):
            everyone = torch.ones_like(kept[:, 0])
            contrast = self.weight * self.contrast(H, self.prototypes[-1], classes, everyone)
            for i, keep in enumerate(kept.T):
                contrast = contrast + self.single * self.contrast(codes[:, i], self.prototypes[i], classes, keep)
            terms["contrast"] = contrast
        return terms

    def encode(self, batch: Batch) -> Codes:
        return torch.stack([self.encoders[m](frame_mean(batch.x[m], batch.observed[m])) for m in self.dims], 1)

    def fuse(self, codes: Codes) -> Float[Tensor, "B d"]:
        """tanh(Linear([LN(z_1); ..; LN(z_M)]) / 2)."""
        return (self.fusion(torch.cat([self.norms[m](codes[:, i]) for i, m in enumerate(self.dims)], 1)) / 2).tanh()

    def masked(self, codes: Codes, kept: Bool[Tensor, "B M"], classes: Float[Tensor, "B C"]) -> Codes:
        """The codes with the mean prototype of these classes where a modality is not kept; the control: zeros."""
        known = classes * (self.prototypes_count > 0)
        shares = known / known.sum(1, keepdim=True).clamp(min=1e-6)
        stand_in = torch.einsum("bc,mcd->bmd", shares, self.prototypes[:-1])
        return torch.where(kept[..., None], codes, torch.zeros_like(codes) if self.zeros else stand_in)

    def nearest(self, codes: Codes, present: Bool[Tensor, "B M"]) -> Float[Tensor, "B C"]:
        """One class of each row: that with the largest mean cosine between its prototypes and what the row has."""
        unit = nn.functional.normalize(self.prototypes[:-1], dim=2)
        cosines = torch.einsum("bmd,mcd->bmc", nn.functional.normalize(codes, dim=2), unit)
        mean = cosines.masked_fill(~present[..., None], 0).sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        best = mean.masked_fill(self.prototypes_count == 0, -torch.inf).argmax(1)
        return nn.functional.one_hot(best, self.outputs).to(codes.dtype)

    def contrast(
        self, code: Float[Tensor, "B d"], prototypes: Float[Tensor, "C d"], classes: Float[Tensor, "B C"],
        rows: Bool[Tensor, "B"],
    ) -> Float[Tensor, ""]:  # fmt: skip
        """Cross-entropy with the row's classes, equally shared, of its cosines with all prototypes; the mean over `rows`."""
        unit = nn.functional.normalize(code, dim=1), nn.functional.normalize(prototypes, dim=1)
        known = self.prototypes_count > 0
        log_p = (_SCALE * unit[0] @ unit[1].T).masked_fill(~known, -torch.inf).log_softmax(1)
        positives = classes * known
        costs = -(positives * log_p.masked_fill(~known, 0)).sum(1) / positives.sum(1).clamp(min=1)
        rows = rows & positives.any(1)
        return costs.masked_fill(~rows, 0).sum() / rows.sum().clamp(min=1)

    def classes(self, target: Tensor) -> Float[Tensor, "B C"]:
        return (
            nn.functional.one_hot(target, self.outputs).to(self.prototypes.dtype)
            if self.task == "multiclass"
            else target
        )

    def prepare(self, stage: str, train: View) -> None:
        self._train = train

    def on_epoch(self, stage: str, epoch: int) -> None:
        if epoch:
            self.collect(self._train)

    @torch.no_grad()
    def collect(self, train: View) -> None:
        """Prototypes and their numbers of rows, from the rows that have all modalities."""
        self.eval()
        sums, counts = torch.zeros_like(self.prototypes), torch.zeros_like(self.prototypes_count)
        for batch in train.batches(1024):
            whole = batch.select(availability(batch.observed).all(1))
            if len(whole):
                codes, classes = self.encode(whole), self.classes(whole.target)
                every = torch.cat((codes, self.fuse(codes)[:, None]), 1)  # (b, M + 1, d)
                sums += torch.einsum("bmd,bc->mcd", every, classes)
                counts += classes.sum(0)
        self.prototypes.copy_(sums / counts[:, None].clamp(min=1))
        self.prototypes_count.copy_(counts)
