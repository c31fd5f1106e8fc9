"""AE and CRA: what a row lacks is reconstructed from the joint vector of what it has, and the result is classified.

CRA: Tran, Liu, Zhou, Jin: Missing Modalities Imputation via Cascaded Residual Autoencoder (CVPR 2017). Both as classifiers of
rows with missing modalities: Lian, Chen, Sun, Liu, Tao: GCNet (TPAMI 2023), whose definition later tables follow.

Essential is the bottleneck over the joint zero-filled vector (AE), the cascade of residual blocks that is trained as a whole
(CRA), and the reconstruction of missing features. What is free, and what differs here:

  hiding          a row trains with a random set of the modalities that it has, all non-empty sets equally likely, drawn anew in
                  each step; the paper's code draws one mask for each data set. What was hidden is known, so it is the target:
                  training never reads what the protocol removed
  reconstruction  the mean over rows of the summed squared error per dimension of the hidden modalities; the code sums over
                  the batch. Its weight is chosen on validation: the code has .2 for AE, .8 for CRA, and .002 in other scripts
  encoders        the mean over observed frames, then one hidden layer; sequences are not reconstructed frame by frame
  blocks          2 for CRA, as in the code's README. LeakyReLU follows the code of AE and the inner layers of a block, not its
                  code; a linear map of the whole result gives the raw features of each modality
  pre-training    none; Tran et al. also train block by block

impute='zeros' is the control, which is in no paper: the same encoders and classifier with the same initial weights read the
zero-filled vector itself ('reconstructed': its reconstruction), with the task loss alone.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, frame_mean
from mmlib.missing.patterns import all_patterns, availability
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.hiding import random_subset
from mmlib.models.layers import mlp
from mmlib.names import DataError

Joint = Float[Tensor, "B h"]


class Cascade(nn.Module):
    """Residual autoencoders phi_1 .. phi_K over a vector h, optionally each beside a prior H' (Tran et al., section 3.2).

    dz_k = phi_k(h + dz_1 + .. + dz_{k-1}); the result is h + dz_1 + .. + dz_K.
    widths: of the layers down to the code. extra: width of H', which each block reads as well.
    """

    def __init__(self, width: int, widths: tuple[int, ...], blocks: int, extra: int = 0):
        super().__init__()
        *inner, code = widths
        self.down = nn.ModuleList([_bent(width + extra, *inner, code) for _ in range(blocks)])
        self.up = nn.ModuleList([mlp(code, *reversed(inner), width) for _ in range(blocks)])

    def forward(self, h: Joint, prior: Float[Tensor, "B e"] | None = None) -> tuple[Joint, Float[Tensor, "B c"]]:
        """The completed vector (B, h), and the codes of all blocks side by side."""
        codes = []
        for down, up in zip(self.down, self.up):
            codes.append(down(h if prior is None else torch.cat((h, prior), 1)))
            h = h + up(codes[-1])
        return h, torch.cat(codes, 1)


class AE(System):
    """d: width of a modality's code. weight: of the reconstruction. dropout: in encoders and classifier."""

    modalities = "two or more"
    grid = {"weight": (0.2, 0.8)}

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *,
        d: int = 128, weight: float = 0.2, impute: str = "reconstructed", dropout: float = 0.5,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        name = type(self).__name__
        if len(dims) < 2:
            raise DataError(f"{name} is defined for two or more modalities, the data have {', '.join(dims)}")
        check_options(name, impute=(impute, ("reconstructed", "zeros")))
        self.weight, self.zeros = weight, impute == "zeros"
        self.grid = {} if self.zeros else self.grid
        self.encoders = nn.ModuleDict({m: mlp(i, d, d, dropout=dropout) for m, i in dims.items()})
        self.classifier = mlp(len(dims) * d, 128, 128, outputs, dropout=dropout)
        width = len(dims) * d
        self.imputer: nn.Module = nn.Sequential(_bent(width, 256, 128), nn.LeakyReLU(), mlp(128, 256, width))
        self.decoders = nn.ModuleDict({m: nn.Linear(width, i) for m, i in dims.items()})
        self.register_buffer("patterns", all_patterns(len(dims)), persistent=False)

    def impute(self, h: Joint) -> Joint:
        """The joint vector without holes; the control: as it is."""
        return h if self.zeros else self.imputer(h)

    def predict(self, batch: Batch) -> Prediction:
        joint = self.impute(self.joint(self.pooled(batch), batch.present))
        completed = None
        if not self.zeros:
            completed = {
                m: torch.where(batch.observed[m][..., None], x, self.decoders[m](joint)[:, None])
                for m, x in batch.x.items()
            }
        return Prediction(self.classifier(joint), completed, joint)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The task loss of rows with a part of their modalities, and the reconstruction of the other part."""
        x, present = self.pooled(batch), availability(batch.observed)
        kept = random_subset(self.patterns, present)
        joint = self.impute(self.joint(x, dict(zip(self.dims, kept.T))))
        terms = {"task": self.task_loss(self.classifier(joint), batch.target)}
        if not self.zeros:
            terms["reconstruction"] = self.weight * self.reconstruction(joint, x, present & ~kept)
        return terms

    def pooled(self, batch: Batch) -> dict[str, Float[Tensor, "B _"]]:
        return {m: frame_mean(batch.x[m], batch.observed[m]) for m in self.dims}

    def joint(self, x: dict[str, Float[Tensor, "B _"]], present: dict[str, Bool[Tensor, "B"]]) -> Joint:
        """The codes of all modalities side by side, zero where a modality is missing."""
        codes = [self.encoders[m](x[m]).masked_fill(~present[m][:, None], 0) for m in self.dims]
        return torch.cat(codes, 1)

    def reconstruction(
        self, joint: Joint, x: dict[str, Float[Tensor, "B _"]], hidden: Bool[Tensor, "B M"]
    ) -> Float[Tensor, ""]:
        """The mean over rows of the sum over hidden modalities of the mean squared error per dimension."""
        errors = [(self.decoders[m](joint) - x[m]).square().mean(1) for m in self.dims]
        return torch.stack(errors, 1).masked_fill(~hidden, 0).sum(1).mean()

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        idle = ("imputer.", "decoders.") if self.zeros else ()
        return [p for name, p in self.named_parameters() if not name.startswith(idle)]


class CRA(AE):
    """As AE, with a cascade of residual blocks and two more layers ("transition") in place of the bottleneck."""

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *,
        d: int = 128, blocks: int = 2, weight: float = 0.8, impute: str = "reconstructed", dropout: float = 0.5,
    ):  # fmt: skip
        super().__init__(dims, task, outputs, d=d, weight=weight, impute=impute, dropout=dropout)
        width = len(dims) * d
        self.imputer = nn.ModuleList([Cascade(width, (256, 128, 64), blocks), mlp(width, width, width)])

    def impute(self, h: Joint) -> Joint:
        if self.zeros:
            return h
        cascade, transition = self.imputer
        return transition(cascade(h)[0])


def _bent(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with LeakyReLU between them."""
    layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
    for d_in, d_out in zip(widths[1:], widths[2:]):
        layers += [nn.LeakyReLU(), nn.Linear(d_in, d_out)]
    return nn.Sequential(*layers)
