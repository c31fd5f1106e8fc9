"""SIM-C: cross-modal feature simulation for two modalities.

Ismkhan, Bouchachia: Multi-Modal Multi-Label Classification under Missing Textual/Visual Modalities via Cross-Modal
Feature Simulation (ICPR 2026), sections 3 and 4. The paper does not number its equations, so they are cited by section.

Where text and released code differ, or the text leaves something open (first value: the default):

  fusion     variant='paper': the mean over modalities; 'official', as the code does: Linear + ReLU after this mean
  head       variant='paper': Linear, ReLU, dropout; 'official': dropout before the first ReLU (the same in distribution)
  schedule   'joint', the published text: all parts train at once; 'two_stage', the abstract's "pre-trained" and the first
             version of the PDF: first the simulators alone, then the rest with frozen simulators
  reduction  'mean', as the code does: both losses are means over features and over labels; 'sum': the printed norms and
             sums, which give the simulation loss 2 * 512 / 27 = 38 times more weight against the task
  l2norm     False: features are used as given; True: each is scaled to length 1. The paper does not say

impute='zeros' is the control, which is not in the paper: the same fusion and head with the same initial weights, zero vectors
in place of the simulated ones, and the task loss alone. What simulation gains is the gain over this row.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, View
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.layers import SelfAttention, mlp
from mmlib.names import DataError

SIMC_CONFIGURATIONS = (
    "100_image_100_text", "100_image_20_text", "20_image_100_text",
    "complex_10_45_45", "complex_20_40_40", "complex_30_35_35",
)  # fmt: skip
"""The six columns of Tables 1 and 3, each the name of a protocol in `mmlib.missing`.

`100_image_20_text`: all films have their image, 20 % have their text. `complex_20_40_40`: 20 % of the films have both, 40 %
the image alone, 40 % the text alone.
"""

Feature = Float[Tensor, "B _"]


class SIMC(System):
    """Simulators S_{1->2} and S_{2->1}, attention fusion of the completed features, classification head g."""

    modalities, sequences, hides_nothing = "two", False, True
    grid = {"alpha": (0.1, 0.5)}

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        variant: str = "paper",
        impute: str = "simulated",
        schedule: str = "joint",
        alpha: float = 0.5,
        beta: float = 1.0,
        reduction: str = "mean",
        l2norm: bool = False,
        hidden: int = 256,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__(dims, task, outputs)
        if len(dims) != 2:
            raise DataError(f"SIM-C is defined for two modalities, the data have {', '.join(dims)}")
        check_options(
            "SIM-C",
            variant=(variant, ("paper", "official")),
            impute=(impute, ("simulated", "zeros")),
            schedule=(schedule, ("joint", "two_stage")),
            reduction=(reduction, ("mean", "sum")),
        )
        if impute == "zeros" and schedule == "two_stage":
            raise DataError("SIM-C: impute 'zeros' has no simulators to train first; take schedule 'joint'")
        self.zeros, self.l2norm = impute == "zeros", l2norm
        self.alpha, self.beta, self.reduction = alpha, beta, reduction
        # Alone in a stage the simulation loss has no weight against another: Adam's steps hardly depend on its scale.
        self.grid = self.grid if impute == "simulated" and schedule == "joint" else {}
        self.stages = ("joint",) if schedule == "joint" else ("simulators", "task")
        (self.m1, d1), (self.m2, d2) = dims.items()
        self.S12 = mlp(d1, hidden, hidden, d2)
        self.S21 = mlp(d2, hidden, hidden, d1)
        self.project = nn.ModuleList([nn.Linear(d1, hidden), nn.Linear(d2, hidden)])
        self.attention = nn.ModuleList([SelfAttention(hidden, heads) for _ in range(layers)])
        self.norm = nn.ModuleList([nn.LayerNorm(hidden) for _ in range(layers)])
        self.after = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU()) if variant == "official" else nn.Identity()
        first = [nn.ReLU(), nn.Dropout(dropout)] if variant == "paper" else [nn.Dropout(dropout), nn.ReLU()]
        rest = [nn.Linear(128, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, outputs)]
        self.g = nn.Sequential(nn.Linear(hidden, 128), *first, *rest)

    def predict(self, batch: Batch, simulated: tuple[Feature, Feature] | None = None) -> Prediction:
        """Section 3.3: simulate what is missing, fuse, classify; the same steps for every availability pattern.

        simulated: the output of `simulate` for this batch, where it is already computed.
        """
        M1, M2 = self.features(batch)
        S1, S2 = simulated or self.simulate(M1, M2)
        M1 = self.complete(M1, S1, batch.present[self.m1])
        M2 = self.complete(M2, S2, batch.present[self.m2])
        H = self.fuse(M1, M2)
        return Prediction(self.g(H), {self.m1: M1[:, None], self.m2: M2[:, None]}, H)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """Section 3.2: L = alpha L_sim + beta L_task; the stages 'simulators' and 'task' minimise one of the two terms."""
        simulated, terms = self.simulate(*self.features(batch)), {}
        if stage != "task" and not self.zeros:
            terms["simulation"] = self.alpha * self.simulation_loss(batch, simulated)
        if stage != "simulators":
            frozen = (simulated[0].detach(), simulated[1].detach())
            logits = self.predict(batch, frozen if stage == "task" else simulated).logits
            terms["task"] = self.beta * self.task_loss(logits, batch.target, self.reduction)
        return terms

    def features(self, batch: Batch) -> tuple[Feature, Feature]:
        """M'_1, M'_2 (B, d_k): the embeddings of the frozen encoders."""
        M1, M2 = (batch.x[m].squeeze(1) for m in (self.m1, self.m2))
        return (nn.functional.normalize(M1, dim=1), nn.functional.normalize(M2, dim=1)) if self.l2norm else (M1, M2)

    def simulate(self, M1: Feature, M2: Feature) -> tuple[Feature, Feature]:
        """Section 3.1: M^_1 = S_{2->1}(M'_2), M^_2 = S_{1->2}(M'_1), for every row of the batch; the control: zeros."""
        if self.zeros:
            return torch.zeros_like(M1), torch.zeros_like(M2)
        return self.S21(M2), self.S12(M1)

    def complete(self, true: Feature, simulated: Feature, available: Bool[Tensor, "B"]) -> Feature:
        """Section 3.2: M~_k = M'_k if k in A, else M^_k."""
        return torch.where(available[:, None], true, simulated)

    def fuse(self, M1: Feature, M2: Feature) -> Float[Tensor, "B h"]:
        """Sections 3.1, 4: project to a common width, attention with residual and LayerNorm, mean over modalities."""
        H = torch.stack([self.project[0](M1), self.project[1](M2)], 1)  # (B, 2, h)
        for attention, norm in zip(self.attention, self.norm):
            H = norm(H + attention(H))
        return self.after(H.mean(1))

    def simulation_loss(self, batch: Batch, simulated: tuple[Feature, Feature]) -> Float[Tensor, ""]:
        """Section 3.2: |M'_1 - S_{2->1}(M'_2)|^2 + |M'_2 - S_{1->2}(M'_1)|^2 over rows with both modalities, else 0."""
        both = (batch.present[self.m1] & batch.present[self.m2]).float()  # (B,)
        errors = [nn.functional.mse_loss(s, true, reduction="none") for s, true in zip(simulated, self.features(batch))]
        if self.reduction == "sum":
            error = errors[0].sum(1) + errors[1].sum(1)
        else:
            error = (errors[0].mean(1) + errors[1].mean(1)) / 2
        return (error * both).sum() / both.sum().clamp(min=1)

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        simulators = [*self.S12.parameters(), *self.S21.parameters()]
        rest = [p for name, p in self.named_parameters() if not name.startswith(("S12.", "S21."))]
        joint = rest if self.zeros else simulators + rest
        return {"joint": joint, "simulators": simulators, "task": rest}[stage]

    def setup(self, train: View) -> None:
        """Raises DataError for sequences: SIM-C takes one vector per modality."""
        for m, x in train.data.features.items():
            if x.shape[1] > 1:
                raise DataError(
                    f"{train.data.where}: SIM-C takes one vector per modality, {m!r} is a sequence; take data.pooled()"
                )
