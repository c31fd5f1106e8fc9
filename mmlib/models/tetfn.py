"""TETFN: MulT in which the text enhances what audio and vision attend to, with Self-MM's heads and generated labels.

Wang, Guo, Tian, Liu, He, Luo: TETFN: A text enhanced transformer fusion network for multimodal sentiment analysis (Pattern
Recognition 2023).

Essential are crossmodal encoders in which the text takes part in the attention between two other modalities, and the labels
for each modality that Self-MM generates. What differs from the paper or is free:

  text          A modality other than the text attends to the text, as in MulT, and to each third modality after this one has
                attended to the text, by a crossmodal encoder of the same depth. The text attends to the others as they are.
                There is one such encoder for each modality but the text, and none where the data have two modalities, for
                which the trunk is MulT's. Data without text are refused; a row without it has zeros there
  modalities    The head of a modality reads the mean of its embedded frames over those that are observed. The paper reads
                BERT's [CLS] vector and the states of LSTMs
  heads         those of Self-MM, of one width d, without MulT's residual head
  labels        as in Self-MM, which says what holds for classes and for what a row lacks
  rest          as in MulT: positions, zeros for what is missing, the steps that are read, dropout, sizes, nearly the cost
  dropout_modalities   True, which is not in the paper: each training row shows a random set of its modalities
"""

from jaxtyping import Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, frame_mean
from mmlib.models.base import System
from mmlib.models.mult import CrossmodalEncoder, Sequences, Trunk, embed, last_steps
from mmlib.models.self_mm import SelfMM
from mmlib.names import DataError


class TETFN(SelfMM):
    """d: width of a modality and of the features. layers: of a crossmodal encoder. memory, kernel: as in MulT."""

    modalities = "text and one or more others"

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        d: int = 40,
        heads: int = 8,
        layers: int = 4,
        memory: int = 3,
        kernel: int = 3,
        dropout: float = 0.1,
        dropout_modalities: bool = False,
    ):
        System.__init__(self, dims, task, outputs)
        if "text" not in dims or len(dims) < 2:
            raise DataError(f"TETFN is defined for text and other modalities, the data have {', '.join(dims)}")
        self.dropout_modalities, self.hides_nothing = dropout_modalities, not dropout_modalities
        self.trunk = Trunk(dims, d, heads, layers, memory, kernel, dropout)
        enhanced = [m for m in dims if m != "text" and len(dims) > 2]
        self.enhance = nn.ModuleDict({m: CrossmodalEncoder(d, heads, layers, dropout) for m in enhanced})
        self.make_spaces(self.trunk.width, dict.fromkeys(dims, d), d, dropout)

    def encode(self, batch: Batch) -> tuple[Float[Tensor, "B w"], list[Float[Tensor, "B d"]]]:
        """The last steps of the trunk, and the mean embedding of each modality."""
        E = embed(self.trunk.input, batch)
        vectors = [frame_mean(e, batch.observed[m]) for m, e in E.items()]
        return self.trunk.remember(self.interact(E), last_steps(batch)), vectors

    def interact(self, E: Sequences) -> Sequences:
        """The crossmodal encoders, where all modalities but the text attend to what the text has enhanced."""
        enhanced = E | {m: encoder(E[m], E["text"]) for m, encoder in self.enhance.items()}
        return self.trunk.interact(E, {m: E if m == "text" else enhanced for m in E})
