"""MFMB-Net: bottleneck tokens carry what the other modalities tell to the text, branches of each modality stand beside them.

Tao, Li, Zang, Gao: A Multi-Focus-Driven Multi-Branch Network for Robust Multimodal Sentiment Analysis (AAAI 2025). Its trunk
is that of TFR-Net (Yuan, Li, Xu, Yu: Transformer-based Feature Reconstruction Network for Robust Multimodal Sentiment
Analysis, MM 2021).

Essential are the fusion in two steps through a few tokens, first over audio and vision, then over the text; a branch for each
modality; and the restoration of hidden frames, by their values and by the distribution of what the network makes of them.
Written from a short description of the method; what differs from the paper or is a reading:

  inputs        features as the data have them; the paper trains BERT with the rest. A linear map and sinusoidal positions.
                Frames that are not observed are zero vectors and attended to like others
  trunk         a pre-norm transformer encoder for each modality, without the crossmodal attention of TFR-Net
  fusion        The first step reads all modalities but the text, in the order of the data, then the tokens; the second the
                text and the tokens. Of both outputs only the tokens stay
  branches      two layers over the mean of a modality's observed frames, zero without any, beside the mean of the tokens
  hiding        The incomplete view shows a random set of the modalities that a row has, all non-empty sets equally likely, and
                loses frames at a rate from {0, .1, ..., rate}, but one frame of each modality stays. The complete one is the
                row as the protocol leaves it. The task is learned from the incomplete view
  values        a linear map of a step of the trunk beside the branch, through which other modalities tell of a hidden one.
                Smooth L1, mean over the hidden frames of a modality and their dimensions
  distribution  CMD (five moments over the batch) between the two views of what a branch reads, through a sigmoid because CMD is
                defined on an interval, from the rows that show the modality in both
  loss          one weight for all modalities; the paper has one for each, such as 5, 2 and 20. Its absolute error is `absolute`
                of `fit`, for all systems of a study
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, frame_mean
from mmlib.missing.patterns import all_patterns
from mmlib.models.base import Prediction, System
from mmlib.models.emt import hidden_error
from mmlib.models.hiding import incomplete_view
from mmlib.models.layers import TransformerEncoder, mlp, positions
from mmlib.models.mmin import cmd
from mmlib.names import DataError


@dataclass(frozen=True)
class Reading:
    """What one view gives, per modality: trunk (B, T, d), pooled (B, 2d), which the branch reads, and the branch (B, d).

    tokens: the mean of the tokens after both steps.
    """

    trunk: dict[str, Float[Tensor, "B _ d"]]
    pooled: dict[str, Float[Tensor, "B _"]]
    branch: dict[str, Float[Tensor, "B d"]]
    tokens: Float[Tensor, "B d"]

    @property
    def joint(self) -> Float[Tensor, "B h"]:
        return torch.cat((self.tokens, *self.branch.values()), 1)


class MFMBNet(System):
    """d: width of tokens. layers: of the trunk and of each step of the fusion. tokens: of the bottleneck. weight: of the
    restoration. rate: the highest share of lost frames.
    """

    modalities = "text and one or more others"
    grid = {"weight": (0.1, 1.0)}

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *, d: int = 64, heads: int = 4, layers: int = 2,
        tokens: int = 4, dropout: float = 0.1, weight: float = 1.0, rate: float = 0.5,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        if "text" not in dims or len(dims) < 2:
            raise DataError(
                f"MFMB-Net is defined for 'text', which it reads last, and one or more other modalities; "
                f"the data have {', '.join(dims)}"
            )
        self.weight, self.rate = weight, rate
        self.grid = self.grid if weight else {}
        shape = (d, heads, layers, dropout)
        self.input = nn.ModuleDict({m: nn.Linear(i, d) for m, i in dims.items()})
        self.trunk = nn.ModuleDict({m: TransformerEncoder(*shape) for m in dims})
        self.tokens = nn.Parameter(0.1 * torch.randn(tokens, d))
        self.fuse_others, self.fuse_text = TransformerEncoder(*shape), TransformerEncoder(*shape)
        self.branch = nn.ModuleDict({m: mlp(2 * d, d, d, dropout=dropout) for m in dims})
        self.decoder = nn.ModuleDict({m: nn.Linear(2 * d, i) for m, i in dims.items()})
        self.head = nn.Linear((1 + len(dims)) * d, outputs)
        self.register_buffer("patterns", all_patterns(len(dims)), persistent=False)  # (2^M - 1, M)

    def predict(self, batch: Batch) -> Prediction:
        h = self.read(batch).joint
        return Prediction(self.head(h), representation=h)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """L_task(incomplete) + weight (the sum over modalities of the errors of values and of distributions)."""
        view = incomplete_view(self.patterns, batch, self.rate)
        incomplete, complete = self.read(view), self.read(batch)
        values = [hidden_error(self.decode(m, incomplete), m, batch, view) for m in self.dims]
        distances = [_distance(incomplete.pooled[m], complete.pooled[m], view.present[m]) for m in self.dims]
        return {
            "task": self.task_loss(self.head(incomplete.joint), batch.target),
            "reconstruction": self.weight * sum(values),
            "cmd": self.weight * sum(distances),
        }

    def read(self, batch: Batch) -> Reading:
        """Trunk, fusion and branches."""
        L = {}
        for m, project in self.input.items():
            z = project(batch.frames(m))
            L[m] = self.trunk[m](z + positions(z.shape[1], z.shape[2], z))
        n, b = len(self.tokens), self.tokens.expand(len(L["text"]), -1, -1)
        b = self.fuse_others(torch.cat((*(z for m, z in L.items() if m != "text"), b), 1))[:, -n:]
        b = self.fuse_text(torch.cat((L["text"], b), 1))[:, -n:].mean(1)
        pooled = {m: torch.cat((frame_mean(z, batch.observed[m]), b), 1) for m, z in L.items()}
        return Reading(L, pooled, {m: self.branch[m](v) for m, v in pooled.items()}, b)

    def decode(self, m: str, view: Reading) -> Float[Tensor, "B T i"]:
        """Raw frames from the steps of the trunk, each beside the modality's branch."""
        z = view.trunk[m]
        return self.decoder[m](torch.cat((z, view.branch[m][:, None].expand_as(z)), 2))


def _distance(a: Float[Tensor, "B d"], b: Float[Tensor, "B d"], rows: Tensor) -> Float[Tensor, ""]:
    """CMD between these rows of both, 0 without any."""
    return cmd(a[rows].sigmoid(), b[rows].sigmoid()) if rows.any() else 0 * a.sum()
