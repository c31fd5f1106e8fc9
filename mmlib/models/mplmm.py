"""MPLMM: a MulT that was trained on complete rows and then frozen; learned prompts tell it what a row lacks.

Guo, Jin, Zhao: Multimodal Prompt Learning with Missing Modalities for Sentiment Analysis and Emotion Recognition (ACL 2024).

Essential are MulT's training on complete rows, its frozen crossmodal encoders and transformers, and three kinds of prompts:
generative ones, from which and from the available modalities a missing one is made; missing-signal prompts, added to each
modality; missing-type prompts, appended to the sequences of the transformers, which are read there. What differs from the
paper or is free:

  pretraining   on the complete training rows of the same data. The paper has those of MOSEI for all data
  hiding        In the second stage a row keeps, with probability `rate`, one of the incomplete non-empty sets of what it has,
                all equally likely: seven rows in ten, and six sets of three modalities, as in the paper
  generative    The prompt of the missing modality and the maps W of the embedded available ones lie one after the other in
                time, are interpolated to its length, and pass one linear map for each missing modality. The paper has
                convolutions over time for each set, which need fixed lengths. With nothing available the prompt is alone
  embedded      with positions and scale, so a modality that was made gets none
  signal        two vectors for each modality, for available and missing
  type          one prompt for all sets, times the mean of the signals of the row, repeated to the width of a transformer
  frames        A modality is missing where no frame is observed. A lost frame of another one is a zero vector, as in MulT
  rest          sizes as in MulT; the paper has width 30, 5 heads and 5 layers. Dropout stays on in the frozen parts
  cost          a step of either stage costs as much as one of MulT; of single vectors a step of the second one twice as much

impute='zeros' is the control, which is not in the paper: the same network with the signal and type prompts, in which a missing
modality stays a sequence of zero vectors with positions ('generated': the method).
"""

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.functional import gelu

from mmlib.data.dataset import Batch, View
from mmlib.missing.patterns import all_patterns, availability, within
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.hiding import showing
from mmlib.models.layers import resized
from mmlib.models.mult import MulT, ResidualHead, Sequences, TemporalConvolution, embed
from mmlib.names import DataError

Present = Bool[Tensor, "B M"]


class MPLMM(System):
    """prompts: the length of a generative and of a missing-type prompt. rate: of the rows from which training hides modalities.

    impute: 'generated' or 'zeros'. d, heads, layers, memory, kernel: as in MulT.

    Stages: 'pretrain' trains MulT on the complete rows; 'prompt' the prompts, new convolutions and a new head.
    """

    modalities = "two or more"
    stages = ("pretrain", "prompt")
    needs_complete_rows = True

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
        prompts: int = 16,
        rate: float = 0.7,
        impute: str = "generated",
        dropout: float = 0.1,
    ):
        super().__init__(dims, task, outputs)
        if len(dims) < 2:
            raise DataError(f"MPLMM is defined for two or more modalities, the data have {', '.join(dims)}")
        if not 0 <= rate <= 1:
            raise DataError(f"MPLMM: rate {rate!r} is outside 0..1")
        check_options("MPLMM", impute=(impute, ("generated", "zeros")))
        self.rate, self.zeros = rate, impute == "zeros"
        sizes = {"d": d, "heads": heads, "layers": layers, "memory": memory, "kernel": kernel, "dropout": dropout}
        self.pretrained = MulT(dims, task, outputs, **sizes)
        self.input = nn.ModuleDict({m: TemporalConvolution(i, d, kernel) for m, i in dims.items()})
        self.generative = nn.ParameterDict({m: nn.Parameter(torch.randn(prompts, d)) for m in dims})
        self.map = nn.ModuleDict({m: nn.ModuleDict({s: nn.Linear(d, d) for s in dims if s != m}) for m in dims})
        self.fold = nn.ModuleDict({m: nn.Linear(d, d) for m in dims})
        self.signal = nn.ParameterDict({m: nn.Parameter(0.1 * torch.randn(2, d)) for m in dims})
        self.missing_type = nn.Parameter(torch.randn(prompts, d))
        self.head = ResidualHead(self.pretrained.trunk.width, outputs, dropout)
        self.register_buffer("patterns", all_patterns(len(dims)), persistent=False)  # (2^M - 1, M)

    def predict(self, batch: Batch) -> Prediction:
        trunk, E = self.pretrained.trunk, self.complete(embed(self.input, batch), availability(batch.observed))
        signals = {m: self.signal[m][batch.present[m].long()] for m in E}  # (B, d) each
        H = trunk.interact({m: e + signals[m][:, None] for m, e in E.items()})
        ends = self.missing_type * torch.stack(list(signals.values())).mean(0)[:, None]  # (B, n, d)
        ends = ends.repeat(1, 1, len(E) - 1)
        steps = {m: torch.full_like(batch.index, h.shape[1] + ends.shape[1] - 1) for m, h in H.items()}
        return self.head(trunk.remember({m: torch.cat((h, ends), 1) for m, h in H.items()}, steps))

    def complete(self, E: Sequences, present: Present) -> Sequences:
        """The embeddings; a missing modality is made of its prompt and of what the row has. The control: as they are."""
        if self.zeros:
            return E
        made = {m: e.clone() for m, e in E.items()}
        for pattern in present.unique(dim=0):
            rows = (present == pattern).all(1).nonzero().flatten()
            names = [m for m, has in zip(E, pattern.tolist()) if has]
            for m in (m for m in E if m not in names):
                parts = [gelu(self.map[m][s](E[s][rows])) for s in names]
                prompt = self.generative[m].expand(len(rows), -1, -1)
                made[m][rows] = self.fold[m](resized(torch.cat((prompt, *parts), 1), E[m].shape[1]))
        return made

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The task loss; of 'pretrain' over the complete rows of a batch, 0 without any."""
        if stage == "pretrain":
            complete = availability(batch.observed).all(1)
            return {"task": self.task_loss(self.pretrained.predict(batch).logits, batch.target, rows=complete)}
        return {"task": self.task_loss(self.predict(self.show(batch)).logits, batch.target)}

    def show(self, batch: Batch) -> Batch:
        """With probability `rate` a row keeps one of the incomplete non-empty sets of what it has."""
        present = availability(batch.observed)
        smaller = within(self.patterns, present) & (self.patterns != present[:, None]).any(2)  # (B, P)
        chosen = torch.rand(smaller.shape, device=present.device).masked_fill(~smaller, -1).argmax(1)
        hides = (torch.rand(len(present), device=present.device) < self.rate) & smaller.any(1)
        return showing(batch, torch.where(hides[:, None], self.patterns[chosen], present))

    def predict_in(self, stage: str, batch: Batch) -> Prediction:
        return self.pretrained.predict(batch) if stage == "pretrain" else self.predict(batch)

    def setup(self, train: View) -> None:
        if not bool(availability(train.observed).all(1).any()):
            raise DataError(f"{train.data.where}: no training row has every modality; MPLMM trains a MulT on such rows")

    def prepare(self, stage: str, train: View) -> None:
        """Frozen weights need no gradients."""
        self.pretrained.requires_grad_(stage == "pretrain")

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        first, idle = stage == "pretrain", ("generative.", "map.", "fold.") if self.zeros else ()
        named = [(name, p) for name, p in self.named_parameters() if not name.startswith(idle)]
        return [p for name, p in named if name.startswith("pretrained.") == first]
