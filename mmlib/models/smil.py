"""SMIL: missing modalities are mixtures of centroids, and what is learned from incomplete rows must serve complete ones.

Ma, Ren, Zhao, Tulyakov, Wu, Peng: SMIL: Multimodal Learning with Severely Missing Modality (AAAI 2021).

Essential are the centroids with learned weights, the regularisation of features by noise, and the two levels: a step of the
network on incomplete rows is part of the loss on complete rows, which is differentiated through this step. What differs from
the paper or is free:

  modalities    The paper has one modality in every row and one in few rows, and its code for other data was not released.
                Here each of two or more modalities has centroids and a network for their weights, and may be missing
  centroids     K-means over the mean frames of the training rows that have the modality; ten, or as many as there are
                different rows. With redrawn gaps the rows of the first epoch give them
  mixture       Weights of the centroids are softplus of a linear layer over the representations that the row has, zeros for
                the others, divided by their sum. The encoder of the modality reads the mixture in place of a mean frame
  regularised   The joint hidden layer alone, by adding softplus of a linear map of it. The released code adds at two layers,
                the paper multiplies. Both softplus have unit Gaussian noise inside in training and none in a prediction
  rows          In each step a row shows a random set of the modalities that it has, all non-empty sets equally likely. The
                complete rows on which the step is judged are those that show everything, and a random half of the others:
                the paper has batches of both kinds, where gaps are given. All other rows are those of the inner step
  inner step    One step of plain gradient descent, of the head alone: joint hidden layer and output. In the paper all
                layers but those of the rare modality take it
  alignment     The mean squared error between the joint hidden layers of a row with and without its gaps, before anything is
                added to them, both by the head after its step; the released code compares two layers
  warm          Stage 'warm' is the task alone on complete rows, without noise and mixtures. The paper also trains the
                modalities one by one before
  optimiser     that of `training.fit`; the rate of the inner step is fixed, in the paper it falls

impute='zeros' is the control, which is not in the paper: the same network, initial weights, noise and inner step, with zeros in
place of the representation of a mixture ('centroids': the method).
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.func import functional_call

from mmlib.data.dataset import Batch, View, frame_mean
from mmlib.missing.patterns import all_patterns, availability
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.hiding import random_subset
from mmlib.models.layers import mlp
from mmlib.names import DataError

Codes = Float[Tensor, "B M d"]
Joint = Float[Tensor, "B h"]


class SMIL(System):
    """d: width of a representation and of the joint hidden layer. centroids: of each modality. dropout: in the encoders.

    inner: learning rate of the step on incomplete rows. weight: of the alignment. impute: 'centroids' or 'zeros'.
    """

    modalities = "two or more"
    stages = ("warm", "main")
    needs_complete_rows = True

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        d: int = 128,
        centroids: int = 10,
        inner: float = 1e-3,
        weight: float = 0.01,
        impute: str = "centroids",
        dropout: float = 0.1,
    ):
        super().__init__(dims, task, outputs)
        if len(dims) < 2:
            raise DataError(f"SMIL is defined for two or more modalities, the data have {', '.join(dims)}")
        check_options("SMIL", impute=(impute, ("centroids", "zeros")))
        self.inner, self.weight, self.zeros, M = inner, weight, impute == "zeros", len(dims)
        self.encoders = nn.ModuleDict({m: mlp(i, d, d, dropout=dropout) for m, i in dims.items()})
        self.mixture = nn.ModuleDict({m: nn.Linear(M * d, centroids) for m in dims})
        self.regulariser = nn.Linear(d, d)
        self.head = Head(M * d, d, outputs)
        self.register_buffer("patterns", all_patterns(M), persistent=False)  # (2^M - 1, M)
        self.register_buffer("banks", torch.zeros(centroids, sum(dims.values())))  # of all modalities side by side
        self.register_buffer("sizes", torch.zeros(M, dtype=torch.int64))  # how many centroids each modality has

    def predict(self, batch: Batch) -> Prediction:
        hidden, logits = self.head(self.complete(self.encode(batch), availability(batch.observed)), self.perturbation)
        return Prediction(logits, representation=hidden)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """Of 'warm': the task loss of complete rows. Of 'main': inner + task + weight alignment, see `meta_loss`."""
        h, present = self.encode(batch), availability(batch.observed)
        if stage == "warm":
            return {"task": self.task_loss(self.head(h.flatten(1))[1], batch.target, rows=present.all(1))}
        return self.meta_loss(h, batch.target, *self.draw(present))

    def meta_loss(
        self, h: Codes, target: Tensor, shown: Bool[Tensor, "B M"], judged: Bool[Tensor, "B"]
    ) -> dict[str, Tensor]:
        """inner: the task loss of the rows that are not judged; its gradient moves the head by one step.

        task, alignment: losses of the judged rows, by the head after the step. A mean over no rows is 0.
        """
        z = self.complete(h, shown)
        inner = self.task_loss(self.head(z, self.perturbation)[1], target, rows=~judged)
        parameters = dict(self.head.named_parameters())
        # The graph of the gradient is kept, because the losses after the step depend on it.
        gradient = torch.autograd.grad(inner, tuple(parameters.values()), create_graph=True)
        stepped = {name: p - self.inner * g for (name, p), g in zip(parameters.items(), gradient)}
        hidden, logits = functional_call(self.head, stepped, (z, self.perturbation))
        real, _ = functional_call(self.head, stepped, (h.flatten(1),))
        gap = (hidden - real).square().mean(1).masked_fill(~judged, 0).sum() / judged.sum().clamp(min=1)
        return {
            "inner": inner,
            "task": self.task_loss(logits, target, rows=judged),
            "alignment": self.weight * gap,
        }

    def draw(self, present: Bool[Tensor, "B M"]) -> tuple[Bool[Tensor, "B M"], Bool[Tensor, "B"]]:
        """The modalities that each row shows, and the complete rows on which the step is judged."""
        shown = random_subset(self.patterns, present)
        half = torch.rand(len(present), device=present.device) < 0.5
        return shown, present.all(1) & (half | shown.all(1))

    def encode(self, batch: Batch) -> Codes:
        """h_m of every modality; those of a missing one are not to be read."""
        return torch.stack([self.encoders[m](frame_mean(batch.x[m], batch.observed[m])) for m in self.dims], 1)

    def complete(self, h: Codes, shown: Bool[Tensor, "B M"]) -> Joint:
        """All representations side by side, those that are not shown from the mixtures of centroids; the control: zeros."""
        known = h.masked_fill(~shown[..., None], 0).flatten(1)
        if self.zeros:
            return known
        made = [self.encoders[m](x) for m, x in self.mixtures(known).items()]
        return torch.where(shown[..., None], h, torch.stack(made, 1)).flatten(1)

    def mixtures(self, known: Joint) -> dict[str, Float[Tensor, "B _"]]:
        """The mean frame of each modality, as the sum of its centroids with the weights that `known` gives."""
        made, number = {}, torch.arange(len(self.banks), device=known.device)
        for m, bank, size in zip(self.dims, self.banks.split(list(self.dims.values()), 1), self.sizes):
            w = self._noisy_softplus(self.mixture[m](known)).masked_fill(number >= size, 0)
            made[m] = w / w.sum(1, keepdim=True).clamp(min=1e-6) @ bank
        return made

    def perturbation(self, hidden: Joint) -> Joint:
        """What is added to the joint hidden layer."""
        return self._noisy_softplus(self.regulariser(hidden))

    def _noisy_softplus(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        return nn.functional.softplus(x + torch.randn_like(x) if self.training else x)

    def setup(self, train: View) -> None:
        """The centroids. Raises DataError without complete rows."""
        present = availability(train.observed)
        if not bool(present.all(1).any()):
            raise DataError(
                f"{train.data.where}: no training row has every modality; SMIL judges its inner step on such rows"
            )
        frames: dict[str, list[Tensor]] = {m: [] for m in self.dims}
        for batch in train.batches(1024):
            for m in self.dims:
                frames[m].append(frame_mean(batch.x[m], batch.observed[m]))
        for i, (m, bank) in enumerate(zip(self.dims, self.banks.split(list(self.dims.values()), 1))):
            x = torch.cat(frames[m])[present[:, i]]
            n = min(len(bank), len(x.unique(dim=0)))
            centroids = KMeans(n, n_init=1, random_state=0).fit(x.cpu().numpy()).cluster_centers_
            bank[:n] = torch.from_numpy(centroids)
            self.sizes[i] = n

    def predict_in(self, stage: str, batch: Batch) -> Prediction:
        if stage == "main":
            return self.predict(batch)
        hidden, logits = self.head(self.complete(self.encode(batch), availability(batch.observed)))
        return Prediction(logits, representation=hidden)

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        parts = [self.encoders, self.head] if stage == "warm" else [self.encoders, self.head, self.regulariser]
        parts += [self.mixture] if stage == "main" and not self.zeros else []
        return [p for part in parts for p in part.parameters()]


class Head(nn.Module):
    """The joint hidden layer and the output. It alone takes the inner step."""

    def __init__(self, d_in: int, d: int, outputs: int):
        super().__init__()
        self.joint, self.out = nn.Linear(d_in, d), nn.Linear(d, outputs)

    def forward(
        self, h: Joint, perturbation: Callable[[Joint], Joint] | None = None
    ) -> tuple[Float[Tensor, "B d"], Float[Tensor, "B C"]]:
        """The hidden layer, and the logits from the sum of it and its perturbation."""
        hidden = self.joint(h).relu()
        return hidden, self.out(hidden if perturbation is None else hidden + perturbation(hidden))
