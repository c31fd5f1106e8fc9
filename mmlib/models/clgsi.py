"""CLGSI: a contrast in which the difference of two labels says whether rows belong together, and how much.

Yang, Dong, Qiang: CLGSI: A Multimodal Sentiment Analysis Framework based on Contrastive Learning Guided by Sentiment
Intensity (Findings of NAACL 2024).

Essential are the pairs of rows that are chosen and weighed by the difference of their labels, the fusion GLFK by a global and
a local convolution over the stacked vectors of the modalities, and what each modality gives past it, squeezed and excited.
What differs from the paper or is free:

  vectors       of the text the mean of the observed words, which stands in for BERT's [CLS] vector; of all others the last
                state of an LSTM over their observed frames. Each passes a linear map to one width. Data without text have
                LSTMs alone
  GLFK          The modalities are the channels of both convolutions: the global one reads three neighbours along the vector,
                the local one a single place. Both after ReLU and the stack itself are added up; a linear map gives the fusion
  excitation    g_m = sigmoid(W2 relu(W1 h_m)) h_m, a quarter of the width between both layers
  pairs         w is the difference of two rows over the largest one of the batch: for values the absolute difference, for
                classes whether they differ, for several labels the share that differs. Pairs with w < 1/2 are positive ones
                of weight 1 - w, all others are negative ones of weight w
  contrast      of the cosines of the fusion vectors, at the temperature 0.1; the mean over the rows that have a positive pair
  missing       The paper is about complete data. A missing modality is zeros: its mean or last state is a zero vector.
                dropout_modalities=True, which is not in the paper: each training row shows a random set of its modalities,
                all non-empty sets equally likely
  loss          that of `task_loss`; the absolute error of the paper's regressions is `absolute` of `fit`
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, frame_mean
from mmlib.missing.patterns import all_patterns
from mmlib.models.base import Prediction, System
from mmlib.models.hiding import with_random_subset
from mmlib.models.layers import mlp
from mmlib.models.pooling import LSTMLast


class CLGSI(System):
    """d: width of all vectors. weight, temperature: of the contrast. dropout_modalities: whether training hides modalities."""

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *,
        d: int = 64, weight: float = 0.1, temperature: float = 0.1, dropout: float = 0.1, dropout_modalities: bool = False,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        self.weight, self.temperature = weight, temperature
        self.dropout_modalities, self.hides_nothing = dropout_modalities, not dropout_modalities
        self.lstm = nn.ModuleDict({m: LSTMLast(i, d) for m, i in dims.items() if m != "text"})
        self.project = nn.ModuleDict({m: nn.Linear(d if m in self.lstm else i, d) for m, i in dims.items()})
        self.fuse = GLFK(len(dims), d)
        self.excite = nn.ModuleDict({m: mlp(d, max(1, d // 4), d) for m in dims})
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear((1 + len(dims)) * d, outputs)
        self.register_buffer("patterns", all_patterns(len(dims)), persistent=False)

    def predict(self, batch: Batch) -> Prediction:
        H = self.encode(batch)
        h_F = self.fuse(H)
        excited = [self.excite[m](h).sigmoid() * h for m, h in zip(self.dims, H.unbind(1))]
        return Prediction(self.head(self.dropout(torch.cat((h_F, *excited), 1))), representation=h_F)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The task loss and the contrast of the fusion vectors."""
        shown = with_random_subset(self.patterns, batch) if self.dropout_modalities else batch
        prediction, w = self.predict(shown), differences(batch.target, self.task)
        return {
            "task": self.task_loss(prediction.logits, batch.target),
            "contrast": self.weight * contrast(prediction.representation, w, self.temperature),
        }

    def encode(self, batch: Batch) -> Float[Tensor, "B M d"]:
        """h_m of each modality."""
        vectors = []
        for m, project in self.project.items():
            x, observed = batch.x[m], batch.observed[m]
            vectors.append(project(self.lstm[m](x, observed) if m in self.lstm else frame_mean(x, observed)))
        return torch.stack(vectors, 1)


class GLFK(nn.Module):
    """Linear(relu(conv3(H)) + relu(conv1(H)) + H): (B, M, d) -> (B, d); convolutions along d, the modalities as channels."""

    def __init__(self, M: int, d: int):
        super().__init__()
        self.wide, self.point = nn.Conv1d(M, M, 3, padding=1), nn.Conv1d(M, M, 1)
        self.out = nn.Linear(M * d, d)

    def forward(self, H: Float[Tensor, "B M d"]) -> Float[Tensor, "B d"]:
        return self.out((self.wide(H).relu() + self.point(H).relu() + H).flatten(1))


def differences(target: Tensor, task: str) -> Float[Tensor, "B B"]:
    """Between the labels of two rows, over the largest difference in the batch: 0 .. 1."""
    if task == "multiclass":
        return (target[:, None] != target).float()
    values = target[:, None] if task == "regression" else target
    d = (values[:, None] - values).abs().mean(2)
    return d / d.max().clamp(min=1e-8)


def contrast(h: Float[Tensor, "B d"], w: Float[Tensor, "B B"], temperature: float) -> Float[Tensor, ""]:
    """Mean of L_i = -log (sum_j p_ij e_ij / sum_j (p_ij + n_ij) e_ij), e_ij = exp(cos(h_i, h_j) / temperature), j != i.

    p = 1 - w of a positive pair, n = w of a negative one, the rest 0. Rows without a positive pair are left out; 0 if all are.
    """
    unit = nn.functional.normalize(h, dim=1)
    itself = torch.eye(len(h), dtype=torch.bool, device=h.device)
    positive = (w < 0.5) & ~itself
    log_e = unit @ unit.T / temperature + torch.where(w < 0.5, 1 - w, w).log()
    rows = positive.any(1)
    all_pairs = log_e.masked_fill(itself, -torch.inf)[rows].logsumexp(1)
    positives = log_e.masked_fill(~positive, -torch.inf)[rows].logsumexp(1)
    return (all_pairs - positives).sum() / rows.sum().clamp(min=1)
