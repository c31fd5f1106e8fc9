"""TATE: an attention encoder that is told by a tag which modalities a row lacks, guided by a model that saw them all.

Zeng, Liu, Zhou: Tag-assisted Multimodal Sentiment Analysis under Uncertain Missing Modalities (SIGIR 2022).

Essential are the tag at every step, projections into a common space by matrices that each pair of modalities shares, the
guidance by a model that was trained before on rows without artificial gaps, and the decoder that gives back the input of the
encoder. What differs from the paper or is free:

  tag           The paper appends four bits, which name the modality or the two that are missing. Here they are M bits, one
                per modality, 1 where the row has it. Both say the same, and M bits fit any number of modalities
  width         d is 300 in the paper. A pair's matrix has d // (M - 1) outputs, d / 2 for three modalities as in the paper.
                Zeros between the common space and the tag make the width a multiple of the heads
  blocks        pre-norm transformer layers and sinusoidal positions for all attention, the decoder is one over the encoder's
                output, with a linear map after it. Missing and padded frames are zero vectors and attended to like others
  hiding        In training each row shows a random set of the modalities that it has, all non-empty sets equally likely. The
                paper hides one or two at the rate of the test
  teacher       the same network without a decoder, trained by the task alone, on rows as complete as they are; then frozen.
                The paper guides by complete rows. guidance=False is the control without teacher
  divergence    Symmetric KL is KL(p || q) + KL(q || p) of the softmax over the channels of a step. The guidance is a mean over
                the steps that the row had before training hid some; the reconstruction, whose target is fixed, a mean over
                those that the row shows
  weights       0.1 for each of the three terms beside the task loss, as in the paper; its penalty on the squared weights is
                `weight_decay` of `fit`
  cost          the frames of all modalities in one sequence pass student, decoder and teacher: on 20 frames about eight times
                a step of CRA
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch
from mmlib.missing.patterns import all_patterns, availability
from mmlib.models.base import Prediction, System
from mmlib.models.hiding import with_random_subset
from mmlib.models.layers import TransformerEncoder, positions
from mmlib.names import DataError


class TATE(System):
    """d: width of the attention blocks. layers: of each block, of the encoder and of the decoder.

    weight: of each of the losses guidance, reconstruction and tag. guidance=False: no teacher.
    """

    modalities = "two or more"
    stages = ("teacher", "main")

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        d: int = 64,
        heads: int = 4,
        layers: int = 1,
        dropout: float = 0.1,
        weight: float = 0.1,
        guidance: bool = True,
    ):
        super().__init__(dims, task, outputs)
        if len(dims) < 2:
            raise DataError(f"TATE is defined for two or more modalities, the data have {', '.join(dims)}")
        self.weight = weight
        self.stages = self.stages if guidance else ("main",)
        self.teacher = TaggedEncoder(dims, outputs, d, heads, layers, dropout) if guidance else None
        self.student = TaggedEncoder(dims, outputs, d, heads, layers, dropout)
        c = self.student.width
        self.decoder = nn.Sequential(TransformerEncoder(c, heads, layers, dropout), nn.Linear(c, c))
        self.register_buffer("patterns", all_patterns(len(dims)), persistent=False)  # (2^M - 1, M)

    def predict(self, batch: Batch) -> Prediction:
        return self.student.predict(batch)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """Of the teacher: the task loss. Else the task loss + weight (guidance + reconstruction + tag)."""
        if stage == "teacher":
            return {"task": self.task_loss(self.teacher.predict(batch).logits, batch.target)}
        shown = self.show(batch)
        X = self.student.read(shown)
        E = self.student.encoder(X)
        D = self.decoder(E)
        terms = {"task": self.task_loss(self.student.decide(E).logits, batch.target)}
        if self.teacher is not None:
            terms["guidance"] = self.weight * symmetric_kl(E, self._guide(batch), _steps(batch))
        terms["reconstruction"] = self.weight * symmetric_kl(D, X.detach(), _steps(shown))
        M = len(self.dims)
        terms["tag"] = self.weight * (D[..., -M:] - X[..., -M:]).abs().mean()
        return terms

    def show(self, batch: Batch) -> Batch:
        """The rows with a random non-empty set of the modalities that each has."""
        return with_random_subset(self.patterns, batch)

    @torch.no_grad()
    def _guide(self, batch: Batch) -> Float[Tensor, "B T c"]:
        """The output of the frozen teacher's encoder."""
        self.teacher.eval()
        return self.teacher.encoder(self.teacher.read(batch))

    def predict_in(self, stage: str, batch: Batch) -> Prediction:
        return self.teacher.predict(batch) if stage == "teacher" else self.predict(batch)

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        parts = (self.teacher,) if stage == "teacher" else (self.student, self.decoder)
        return [p for part in parts for p in part.parameters()]


class TaggedEncoder(nn.Module):
    """Attention blocks, common space and tag give X (B, T, c), T the frames of all modalities; an encoder; a classifier."""

    def __init__(self, dims: dict[str, int], outputs: int, d: int, heads: int, layers: int, dropout: float):
        super().__init__()
        M = len(dims)
        k = d // (M - 1)
        self.width = -(-(k * (M - 1) + M) // heads) * heads
        self.input = nn.ModuleDict({m: nn.Linear(i, d) for m, i in dims.items()})
        self.block = nn.ModuleDict({m: TransformerEncoder(d, heads, layers, dropout) for m in dims})
        pairs = [(i, j) for j in range(M) for i in range(j)]
        self.pair = nn.ModuleDict({f"{i} {j}": nn.Linear(d, k, bias=False) for i, j in pairs})
        self.encoder = TransformerEncoder(self.width, heads, layers, dropout)
        self.content, self.gate = nn.Linear(self.width, d), nn.Linear(self.width, d)
        self.score = nn.Linear(d, 1, bias=False)  # the softmax would cancel a bias
        self.head = nn.Linear(self.width, outputs)

    def predict(self, batch: Batch) -> Prediction:
        return self.decide(self.encoder(self.read(batch)))

    def read(self, batch: Batch) -> Float[Tensor, "B T c"]:
        """X: the frames of one modality after those of another, each in the common space, with the tag at its end."""
        H = []
        for m, project in self.input.items():
            z = project(batch.frames(m))
            H.append(self.block[m](z + positions(z.shape[1], z.shape[2], z)))
        C = torch.cat([self.common(h, i) for i, h in enumerate(H)], 1)
        tag = availability(batch.observed).to(C.dtype)  # (B, M)
        filler = self.width - C.shape[2] - tag.shape[1]
        end = nn.functional.pad(tag, (filler, 0))
        return torch.cat((C, end[:, None].expand(-1, C.shape[1], -1)), 2)

    def common(self, h: Float[Tensor, "B T d"], i: int) -> Float[Tensor, "B T k"]:
        """Modality i through the matrices of all pairs that contain it, results side by side."""
        others = [j for j in range(len(self.input)) if j != i]
        return torch.cat([self.pair[f"{min(i, j)} {max(i, j)}"](h) for j in others], 2)

    def decide(self, E: Float[Tensor, "B T c"]) -> Prediction:
        """Gated additive attention over all steps, then the classifier."""
        a = self.score(self.content(E).tanh() * self.gate(E).sigmoid()).softmax(1)  # (B, T, 1)
        h = (a * E).sum(1)
        return Prediction(self.head(h), representation=h)


def symmetric_kl(a: Float[Tensor, "B T c"], b: Float[Tensor, "B T c"], known: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """KL(p || q) + KL(q || p), p and q the softmax over channels of a and b; the mean over the known steps of all rows."""
    log_p, log_q = a.log_softmax(2), b.log_softmax(2)
    divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(2)
    return divergence.masked_fill(~known, 0).sum() / known.sum().clamp(min=1)


def _steps(batch: Batch) -> Bool[Tensor, "B T"]:
    """The observed frames of all modalities, in the order of `TaggedEncoder.read`."""
    return torch.cat(list(batch.observed.values()), 1)
