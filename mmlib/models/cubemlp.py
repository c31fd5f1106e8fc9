"""CubeMLP: small networks mix one cube of features along time, along the modalities and along the channels.

Sun, Wang, Liu, Chen, Lin: CubeMLP: An MLP-based Model for Multimodal Sentiment Analysis and Depression Estimation (ACM MM
2022).

Essential are the cube and its blocks, in which three networks, one for each axis, follow each other, each after a LayerNorm
and with a residual connection. What differs from the paper or is free:

  cube          All modalities are interpolated to one length after a linear map for each frame, in place of a Bi-GRU, and of
                BERT for the text. The paper pads to 50 or 100 steps; here it is the longest sequence, so that no frame is lost
  blocks        two as in the paper: the first keeps the size, the second has a fifth of the steps and a quarter of the
                channels. Both keep the modality axis
  networks      two layers with GELU, the hidden one as wide as the input; the LayerNorm is over the axis that is mixed. The
                residual is the input itself, or a linear map of it without bias where the size of the axis changes
  missing       The paper is about complete data. A missing modality is zeros before the linear map, and so is each frame that
                is not observed. dropout_modalities=True, which is not in the paper: each training row shows a random set of
                its modalities, all non-empty sets equally likely
  loss          that of `task_loss`; the absolute error of the paper's regressions is `absolute` of `fit`
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, Dataset
from mmlib.missing.patterns import all_patterns
from mmlib.models.base import Prediction, System
from mmlib.models.hiding import with_random_subset
from mmlib.models.layers import resized
from mmlib.models.pooling import steps_of
from mmlib.names import DataError

Cube = Float[Tensor, "B _ M _"]


class CubeMLP(System):
    """length, d: steps and channels of the cube; `for_data` takes the longest sequence. lengths, widths: after each block.

    By default there are two blocks, (length, length // 5) and (d, d // 4), at least 1 each.
    dropout: after GELU. dropout_modalities: whether training hides modalities.
    """

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *,
        d: int = 64, length: int = 10, lengths: Sequence[int] | None = None, widths: Sequence[int] | None = None,
        dropout: float = 0.1, dropout_modalities: bool = False,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        lengths = (length, max(1, length // 5)) if lengths is None else lengths
        widths = (d, max(1, d // 4)) if widths is None else widths
        if len(lengths) != len(widths) or not lengths or min(length, d, *lengths, *widths) < 1:
            raise DataError(f"CubeMLP: lengths {lengths} and widths {widths} are not one size for each block")
        self.length, self.dropout_modalities, self.hides_nothing = length, dropout_modalities, not dropout_modalities
        self.input = nn.ModuleDict({m: nn.Linear(i, d) for m, i in dims.items()})
        sizes = [(length, d), *zip(lengths, widths)]
        M = len(dims)
        self.blocks = nn.Sequential(*(Block((L, M, i), (K, M, o), dropout) for (L, i), (K, o) in zip(sizes, sizes[1:])))
        self.head = nn.Linear(M * widths[-1], outputs)
        self.register_buffer("patterns", all_patterns(M), persistent=False)

    @classmethod
    def for_data(cls, data: Dataset, seed: int = 0, **arguments: Any) -> "CubeMLP":
        return super().for_data(data, seed, **{"length": steps_of(data), **arguments})

    def predict(self, batch: Batch) -> Prediction:
        mixed = self.blocks(self.cube(batch)).mean(1).flatten(1)
        return Prediction(self.head(mixed), representation=mixed)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        shown = with_random_subset(self.patterns, batch) if self.dropout_modalities else batch
        return {"task": self.task_loss(self.predict(shown).logits, batch.target)}

    def cube(self, batch: Batch) -> Cube:
        """(B, length, M, d)."""
        frames = {m: batch.frames(m) for m in self.dims}
        return torch.stack([resized(project(frames[m]), self.length) for m, project in self.input.items()], 2)


class Block(nn.Module):
    """Mixes along time, then along the modalities, then along the channels: (B, L, M, d) -> (B, L', M', d')."""

    def __init__(self, sizes: tuple[int, int, int], new: tuple[int, int, int], dropout: float):
        super().__init__()
        self.mix = nn.ModuleList([AxisMLP(axis, n, k, dropout) for axis, (n, k) in enumerate(zip(sizes, new), 1)])

    def forward(self, x: Cube) -> Cube:
        for mix in self.mix:
            x = mix(x)
        return x


class AxisMLP(nn.Module):
    """r(x) + W2 gelu(W1 LN(x)) along one axis of size n, with the result of size k; r is linear if the size changes."""

    def __init__(self, axis: int, n: int, k: int, dropout: float):
        super().__init__()
        self.axis, self.norm = axis, nn.LayerNorm(n)
        self.mlp = nn.Sequential(nn.Linear(n, n), nn.GELU(), nn.Dropout(dropout), nn.Linear(n, k))
        self.residual = nn.Identity() if n == k else nn.Linear(n, k, bias=False)

    def forward(self, x: Cube) -> Cube:
        x = x.transpose(self.axis, 3)
        return (self.residual(x) + self.mlp(self.norm(x))).transpose(self.axis, 3)
