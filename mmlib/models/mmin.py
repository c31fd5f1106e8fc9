"""MMIN and IF-MMIN: a cascade imagines the embeddings of what is missing, and its codes are classified.

MMIN: Zhao, Li, Jin: Missing Modality Imagination Network for Emotion Recognition with Uncertain Missing Modalities (ACL 2021).
IF-MMIN: Zuo, Liu, Zhao, Gao, Li: Exploiting Modality-Invariant Feature for Robust Multimodal Emotion Recognition with Missing
Modalities (ICASSP 2023).

Essential is the teacher that is trained first, the forward imagination of the missing embeddings by a cascade, the way back
(MMIN) or the invariant feature beside each block (IF-MMIN), and the classifier on the codes. What is free, and what differs:

  hiding      a row trains with a random set of its modalities, all non-empty sets equally likely. The paper's scripts draw one
              of the six incomplete sets of three and never train or test on complete rows
  target      the teacher's embedding of the modalities that were hidden, zero elsewhere. In the code an absent modality is a
              zero input whose embedding is not zero, because of biases; here it is a zero embedding. The losses of the
              imagination are means over the rows of which something was hidden
  teacher     trains on rows as they come, and a row gives a target for each modality that it has: complete rows are best,
              rows with a single modality teach the task alone
  encoders    a TextCNN for the text, an LSTM with the maximum over time for the others, as in the paper
  cost        a step takes about six times that of AE, because own and teacher's encoders read each batch and the cascades have
              ten blocks, of which IF-MMIN has five
  IF-MMIN     no way back, as in its released code. The loss between the invariant features of one row compares five moments
              over the batch (CMD). Its second weight is 1 in the code's defaults and 100 in its script, which does not start:
              validation chooses. CMD is defined on an interval, so it reads the features through a sigmoid, of the rows that
              have both modalities; a distance of moments counts as 1e-6 at least, where its derivative is not defined

impute='zeros' is the control, which is in no paper: the same network without the losses of the imagination, whose cascade
therefore reads zeros in place of embeddings and learns from the task alone ('imagined': with them).
"""

import itertools

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, View
from mmlib.missing.patterns import all_patterns, availability
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.cra import Cascade
from mmlib.models.hiding import random_subset
from mmlib.models.layers import mlp
from mmlib.models.pooling import LSTMPool, TextCNN
from mmlib.names import DataError

Joint = Float[Tensor, "B h"]
_WIDTHS = (256, 128, 64)
_MOMENTS = 5


def cmd(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Central moment discrepancy of two samples in [0, 1]^d (Zellinger et al. 2017), from moments 1 to 5.

    |E x - E y| + sum over k = 2..5 of |E (x - E x)^k - E (y - E y)^k|, with the norm over dimensions.
    """
    mean_x, mean_y = x.mean(0), y.mean(0)
    terms = [_norm(mean_x - mean_y)]
    for k in range(2, _MOMENTS + 1):
        terms.append(_norm(((x - mean_x) ** k).mean(0) - ((y - mean_y) ** k).mean(0)))
    return torch.stack(terms).sum()


class Imagination(Cascade):
    """A cascade with two more layers ("transition") on its result; its codes are those of the cascade."""

    def __init__(self, width: int, widths: tuple[int, ...], blocks: int, extra: int = 0):
        super().__init__(width, widths, blocks, extra)
        self.transition = mlp(width, width, width)

    def forward(self, h: Joint, prior: Float[Tensor, "B e"] | None = None) -> tuple[Joint, Float[Tensor, "B c"]]:
        completed, codes = super().forward(h, prior)
        return self.transition(completed), codes


class MMIN(System):
    """d: width of an embedding, in the paper 128. blocks: of each cascade. imagination, cycle: weights of the two losses.
    dropout: in the heads.

    Stages: 'teacher' trains encoders and a classifier of their embeddings; 'main' the imagination, from a copy of them.
    """

    name, modalities = "MMIN", "two or more"
    stages = ("teacher", "main")
    grid = {"imagination": (1.0, 4.0)}

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *, d: int = 64, blocks: int = 5,
        imagination: float = 4.0, cycle: float = 2.0, impute: str = "imagined", dropout: float = 0.5,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        self._check(impute)
        self.imagination, self.cycle, width = imagination, cycle, len(dims) * d
        self.teacher, self.encoders = _encoders(dims, d), _encoders(dims, d)
        self.teacher_head = mlp(width, 128, 128, outputs, dropout=dropout)
        self.forwards = Imagination(width, _WIDTHS, blocks)
        self.classifier = mlp(blocks * _WIDTHS[-1], 128, 128, outputs, dropout=dropout)
        self.backwards = Imagination(width, _WIDTHS, blocks)

    def _check(self, impute: str) -> None:
        if len(self.dims) < 2:
            raise DataError(f"{self.name} is defined for two or more modalities, the data have {', '.join(self.dims)}")
        check_options(self.name, impute=(impute, ("imagined", "zeros")))
        self.zeros = impute == "zeros"
        self.grid = {} if self.zeros else self.grid
        self.register_buffer("patterns", all_patterns(len(self.dims)), persistent=False)

    def predict(self, batch: Batch) -> Prediction:
        """The imagined vector is the representation; the classifier reads the codes of the cascade."""
        imagined, codes = self.forwards(self.embed(self.encoders, batch, availability(batch.observed)))
        return Prediction(self.classifier(codes), representation=imagined)

    def predict_in(self, stage: str, batch: Batch) -> Prediction:
        if stage == "main":
            return self.predict(batch)
        h = self.embed(self.teacher, batch, availability(batch.observed))
        return Prediction(self.teacher_head(h), representation=h)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """L = L_task + imagination L_forward + cycle L_backward (section 3.3); the teacher: the task alone."""
        if stage == "teacher":
            return {"task": self.task_loss(self.predict_in(stage, batch).logits, batch.target)}
        present = availability(batch.observed)
        kept = random_subset(self.patterns, present)
        h = self.embed(self.encoders, batch, kept)
        imagined, codes = self.forwards(h)
        terms = {"task": self.task_loss(self.classifier(codes), batch.target)}
        if not self.zeros:
            hidden = present & ~kept
            self.teacher.eval()
            with torch.no_grad():
                target = self.embed(self.teacher, batch, hidden)
            rows = hidden.any(1)
            terms["imagination"] = self.imagination * _mean_square(imagined - target, rows)
            terms["cycle"] = self.cycle * _mean_square(self.backwards(imagined)[0] - h.detach(), rows)
        return terms

    def embed(self, encoders: nn.ModuleDict, batch: Batch, kept: Bool[Tensor, "B M"]) -> Joint:
        """h: the embeddings of all modalities side by side, zero for those that are not kept."""
        columns = zip(self.dims, kept.T)
        h = [encoders[m](batch.x[m], batch.observed[m]).masked_fill(~keep[:, None], 0) for m, keep in columns]
        return torch.cat(h, 1)

    def on_stage(self, stage: str, train: View) -> None:
        if stage == "main":
            self.encoders.load_state_dict(self.teacher.state_dict())

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        return self._of_parts(
            ("teacher.", "teacher_head.")
            if stage == "teacher"
            else ("encoders.", "forwards.", "classifier.", "backwards.")
        )

    def _of_parts(self, parts: tuple[str, ...]) -> list[nn.Parameter]:
        """Their parameters, without those that only the losses of the imagination reach in the control."""
        last = len(self.forwards.up) - 1
        idle = (f"forwards.up.{last}.", "forwards.transition.", "backwards.") if self.zeros else ()
        named = self.named_parameters()
        return [p for name, p in named if name.startswith(parts) and not (idle and name.startswith(idle))]


class IFMMIN(MMIN):
    """As MMIN; an encoder that the modalities share gives invariant features, which stand beside the input of each block.

    invariance: weight of the loss between invariant features of incomplete and of complete rows. cmd: weight of the moments in
    the teacher's stage.
    """

    name = "IF-MMIN"
    grid = {"imagination": (1.0, 4.0), "invariance": (1.0, 100.0)}

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *, d: int = 64, blocks: int = 5, imagination: float = 1.0,
        invariance: float = 1.0, cmd: float = 1.0, impute: str = "imagined", dropout: float = 0.5,
    ):  # fmt: skip
        System.__init__(self, dims, task, outputs)
        self._check(impute)
        self.imagination, self.invariance, self.cmd, width = imagination, invariance, cmd, len(dims) * d
        self.teacher, self.encoders = _encoders(dims, d), _encoders(dims, d)
        self.teacher_shared, self.shared = _shared(d), _shared(d)
        self.teacher_head = mlp(2 * width, 128, 128, outputs, dropout=dropout)
        self.forwards = Imagination(width, _WIDTHS, blocks, extra=width)
        self.classifier = mlp(blocks * _WIDTHS[-1], 128, 128, outputs, dropout=dropout)

    def predict(self, batch: Batch) -> Prediction:
        h, invariant = self._features("", batch, availability(batch.observed))
        imagined, codes = self.forwards(h, invariant)
        return Prediction(self.classifier(codes), representation=imagined)

    def predict_in(self, stage: str, batch: Batch) -> Prediction:
        if stage == "main":
            return self.predict(batch)
        both = torch.cat(self._features("teacher", batch, availability(batch.observed)), 1)
        return Prediction(self.teacher_head(both), representation=both)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """Stage 'teacher': L_task + cmd L_cmd; 'main': L_task + imagination L_forward + invariance L_invariance."""
        present = availability(batch.observed)
        if stage == "teacher":
            h, invariant = self._features("teacher", batch, present)
            terms = {"task": self.task_loss(self.teacher_head(torch.cat((h, invariant), 1)), batch.target)}
            return terms | {"cmd": self.cmd * self.moments(invariant, present)}
        kept = random_subset(self.patterns, present)
        h, invariant = self._features("", batch, kept)
        imagined, codes = self.forwards(h, invariant)
        terms = {"task": self.task_loss(self.classifier(codes), batch.target)}
        if not self.zeros:
            hidden = present & ~kept
            self.teacher.eval()
            with torch.no_grad():
                target, _ = self._features("teacher", batch, hidden)
                complete = self._features("teacher", batch, present)[1]
            rows = hidden.any(1)
            terms["imagination"] = self.imagination * _mean_square(imagined - target, rows)
            terms["invariance"] = self.invariance * _mean_square(invariant - complete, rows)
        return terms

    def moments(self, invariant: Joint, present: Bool[Tensor, "B M"]) -> Float[Tensor, ""]:
        """L_cmd: the mean over pairs of modalities of CMD between the invariant features of the rows that have both."""
        parts = invariant.sigmoid().chunk(present.shape[1], 1)  # CMD is defined on an interval
        pairs = []
        for a, b in itertools.combinations(range(present.shape[1]), 2):
            both = present[:, a] & present[:, b]
            if both.any():
                pairs.append(cmd(parts[a][both], parts[b][both]))
        return torch.stack(pairs).mean() if pairs else 0 * invariant.sum()

    def _features(self, part: str, batch: Batch, kept: Bool[Tensor, "B M"]) -> tuple[Joint, Joint]:
        """h and H': the embeddings, zero for modalities that are not kept, and the invariant features of each of them."""
        encoders, shared = (self.teacher, self.teacher_shared) if part == "teacher" else (self.encoders, self.shared)
        h = self.embed(encoders, batch, kept)
        # Those of a zero embedding count, too: as a constant they would give the loss of the invariance no gradient.
        return h, torch.cat([shared(x) for x in h.chunk(len(self.dims), 1)], 1)

    def on_stage(self, stage: str, train: View) -> None:
        super().on_stage(stage, train)
        if stage == "main":
            self.shared.load_state_dict(self.teacher_shared.state_dict())

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        teacher, main = (
            ("teacher.", "teacher_head.", "teacher_shared."),
            ("encoders.", "shared.", "forwards.", "classifier."),
        )
        return self._of_parts(teacher if stage == "teacher" else main)


def _encoders(dims: dict[str, int], d: int) -> nn.ModuleDict:
    return nn.ModuleDict({m: (TextCNN if m == "text" else LSTMPool)(i, d) for m, i in dims.items()})


def _shared(d: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d, d), nn.LeakyReLU(), nn.Linear(d, d), nn.LeakyReLU())


def _mean_square(error: Joint, rows: Bool[Tensor, "B"]) -> Float[Tensor, ""]:
    """The mean square of the errors of these rows, 0 without any."""
    return error.square().mean(1).masked_fill(~rows, 0).sum() / rows.sum().clamp(min=1)


def _norm(x: Float[Tensor, "d"]) -> Float[Tensor, ""]:
    # The derivative of the norm at zero is not defined.
    return x.square().sum().clamp(min=1e-12).sqrt()
