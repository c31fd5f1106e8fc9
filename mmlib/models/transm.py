"""TransM (TransModality): transformers translate the text into each other modality and back; their encodings are classified.

Wang, Wan, Wan: TransModality: An End2End Fusion Method with Transformer for Multimodal Sentiment Analysis (WWW 2020).

Essential are the translation by transformers in both directions and the classifier on what their encoders give. What differs
from the paper or is free:

  missing       The paper is about complete data; TATE and others use it where modalities are missing. The decoder's queries
                are the features of the modality that it translates into, so a missing one needs others: here a vector that
                is learned and the positions. It also takes the place of a missing source, and of each frame that is not
                observed. Training hides nothing: these vectors learn from the rows that the protocol leaves incomplete
  known         A reconstruction costs nothing where its true feature is not observed
  source        the text, or the first modality where the data have no text; any number of others, two in the paper
  steps         Frames of a clip in place of utterances of a video, each through a linear map and tanh, without the GRU
                before it. So there is one answer for a clip, from the means over the steps that are observed (all steps of
                a missing modality)
  layers        2 in each encoder and decoder, in place of 10 and 5; pre-norm, with sinusoidal positions. Missing and padded
                frames are attended to like others, but for the decoder's attention over an encoding
  loss          10 times the mean absolute error of each reconstruction as in the paper, the mean over the observed frames
  cost          two translations for each modality but the text, each an encoder and a decoder: on 20 frames about 14 times a
                step of CRA
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, frame_mean
from mmlib.models.base import Prediction, System
from mmlib.models.layers import CrossmodalAttention, FrameDropout, SelfAttention, TransformerEncoder, mlp, positions
from mmlib.names import DataError

Sequences = dict[str, Float[Tensor, "B _ _"]]


class TransM(System):
    """d: width of the features. layers: of each encoder and of each decoder. weight: of each reconstruction's error."""

    modalities = "two or more"
    hides_nothing = True

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        d: int = 64,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        weight: float = 10.0,
    ):
        super().__init__(dims, task, outputs)
        if len(dims) < 2:
            raise DataError(f"TransM is defined for two or more modalities, the data have {', '.join(dims)}")
        self.weight = weight
        self.source = "text" if "text" in dims else next(iter(dims))
        others = [m for m in dims if m != self.source]
        self.input = nn.ModuleDict({m: nn.Linear(i, d) for m, i in dims.items()})
        self.query = nn.ParameterDict({m: nn.Parameter(0.1 * torch.randn(d)) for m in dims})
        shape = (d, heads, layers, dropout)
        self.forth = nn.ModuleDict({m: Translator(dims[m], *shape) for m in others})
        self.back = nn.ModuleDict({m: Translator(dims[self.source], *shape) for m in others})
        self.head = nn.Linear((len(dims) + 2 * len(others)) * d, outputs)

    def predict(self, batch: Batch) -> Prediction:
        return self._translate(batch)[0]

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The task loss, and weight times the errors of the translations and of the translations back."""
        prediction, forth, back = self._translate(batch)
        return {
            "task": self.task_loss(prediction.logits, batch.target),
            "translation": self.weight * sum(_error(made, batch, m) for m, made in forth.items()),
            "back": self.weight * sum(_error(made, batch, self.source) for made in back.values()),
        }

    def features(self, batch: Batch) -> Sequences:
        """(B, T_m, d): the linear features of observed frames, the learned vector at all others."""
        out = {}
        for m, project in self.input.items():
            observed = batch.observed[m][..., None]
            out[m] = torch.where(observed, project(batch.frames(m)).tanh(), self.query[m])
        return out

    def _translate(self, batch: Batch) -> tuple[Prediction, Sequences, Sequences]:
        """The prediction, each other modality as it was translated, and the source as it was translated back from it."""
        F, s = self.features(batch), self.source
        placed = {m: f + positions(f.shape[1], f.shape[2], f) for m, f in F.items()}
        steps = {m: f | ~f.any(1, keepdim=True) for m, f in batch.observed.items()}
        pooled = [frame_mean(f, steps[m]) for m, f in F.items()]
        forth, back = {}, {}
        for m in self.forth:
            E, fake, forth[m] = self.forth[m](placed[s], placed[m], steps[s])
            E_fake, _, back[m] = self.back[m](fake, placed[s], steps[m])
            pooled += [frame_mean(E, steps[s]), frame_mean(E_fake, steps[m])]
        joint = torch.cat(pooled, 1)
        return Prediction(self.head(joint), representation=joint), forth, back


class Translator(nn.Module):
    """An encoder over one sequence, a decoder whose queries are another one, and a map to raw features of width d_out."""

    def __init__(self, d_out: int, d: int, heads: int, layers: int, dropout: float):
        super().__init__()
        self.encoder = TransformerEncoder(d, heads, layers, dropout)
        self.decoder = nn.ModuleList([DecoderLayer(d, heads, dropout) for _ in range(layers)])
        self.norm, self.out = nn.LayerNorm(d), nn.Linear(d, d_out)

    def forward(
        self, x: Float[Tensor, "B S d"], queries: Float[Tensor, "B T d"], steps: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B S d"], Float[Tensor, "B T d"], Float[Tensor, "B T o"]]:
        """The encoding, the output of the decoder and its raw features. steps: those of the encoding that it reads."""
        E, y = self.encoder(x), queries
        for layer in self.decoder:
            y = layer(y, E, steps)
        y = self.norm(y)
        return E, y, self.out(y)


class DecoderLayer(nn.Module):
    """One pre-norm decoder layer without causal mask: attention among the queries, attention over E, feed-forward."""

    def __init__(self, d: int, heads: int, dropout: float):
        super().__init__()
        self.attention, self.norm1 = SelfAttention(d, heads), nn.LayerNorm(d)
        self.cross, self.norm2 = CrossmodalAttention(d, heads), nn.LayerNorm(d)
        self.ffn, self.norm3 = mlp(d, 4 * d, d), nn.LayerNorm(d)
        self.dropout = FrameDropout(dropout)

    def forward(
        self, y: Float[Tensor, "B T d"], E: Float[Tensor, "B S d"], steps: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B T d"]:
        y = y + self.dropout(self.attention(self.norm1(y)))
        y = y + self.dropout(self.cross(E, self.norm2(y), steps))
        return y + self.dropout(self.ffn(self.norm3(y)))


def _error(made: Float[Tensor, "B T d"], batch: Batch, m: str) -> Float[Tensor, ""]:
    """Mean absolute error over the observed frames of a modality; 0 without any."""
    observed = batch.observed[m]
    error = (made - batch.frames(m)).abs().mean(2)
    return error.masked_fill(~observed, 0).sum() / observed.sum().clamp(min=1)
