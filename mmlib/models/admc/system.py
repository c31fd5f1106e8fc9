"""ADMC: a diffusion model over the stacked features of all modalities completes what is missing; then a fusion network.

W. Zhang, J. Chen, Y. J. Wang, E. Zhu, X. Yang, Y. Wang: ADMC: Attention-based Diffusion Model for Missing Modalities Feature
Completion (2025). Code was released (vzhang-mm/ADMC) and runs another model; what it computes is variant 'official'.

Three stages, each frozen afterwards: ITFN (one encoder and head per modality), ADN (the diffusion), MF (the fusion).
What the paper leaves open, and what stands here (the released code's choice in brackets where it differs):
  denoiser       self-attention as the text says [a convolutional U-Net; attention is built and never called]; the linear
                 part of eps' goes around the network [not]
  tokens         learned vectors for modality and a sinusoidal time pass into each token [no modality vector: Eq 2 could not
                 tell the tokens apart]
  hidden 1024    width of the FFN in both attention networks, four times the token's 256
  scale of F     standardised per dimension on the training rows [as it is, with every x0 clamped to -1..1]
  Eq 1           covariance (1 - abar) I, where the paper prints epsilon for I
  sigma_n        of the posterior; 'beta' is the other choice; none in the last step
  schedule       the text's 3e-4..6e-2 [2e-4..4e-2]
  reverse        N..n+1 unconditional, the available part injected at n and merged after every step [pure noise denoised with
                 the labels N-n..1 and taken for level n; injected once; no merge; the available part put back at the end]
  draws          one (n, eps) per row and step [six, summed]
  training of MF one network per set of available modalities, each a stage with a best epoch of its own, on features generated
                 once ['shared' is one for all]
  full input     MMER: F and what the other modalities generate, side by side; enhance=False takes F alone
  w/o ITFN       encoders trained together with a fusion network, then frozen; w/o ADN: zeros in place of missing features
  MF             a linear map per modality, 2 layers, mean, two more layers; no ReLU on the logits [has one]
  class weights  balanced cross-entropy, as the code has it and the paper does not say
  early stopping best validation epoch of each encoder [best if accuracy is above one half, else none is saved]
  padding        frames that are not observed touch neither LSTM nor maximum
Beyond the paper: variant 'conditional', whose denoiser sees the available tokens clean; resample > 1 (RePaint, Lugmayr et
al. 2022) and sampler 'ddim' (Song et al. 2021), whose eta = 1 draws noise in its long steps as DDPM does in its short ones:
with eta = 0 the generated part settles less under the merged one, and less of the clip passes.
"""

import itertools

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmlib.data.checks import DataError
from mmlib.data.dataset import Batch, View
from mmlib.files import fingerprint
from mmlib.missing.patterns import all_patterns, availability, within
from mmlib.models.admc.completions import RowCache, row_contents
from mmlib.models.admc.diffusion import _CHUNK, ADN, Tokens
from mmlib.models.base import Prediction, System, check_options, task_loss
from mmlib.models.layers import LSTMPool, TextCNN, TransformerEncoder, mlp

_HEAD = 128


class MF(nn.Module):
    """Output = FC(1/M sum_i Attention(F_M)_i), Eq 6; c channels per token, d or (MMER, Eq 5) 2 d."""

    def __init__(self, modalities: int, c: int, d: int, outputs: int, heads: int, layers: int, dropout: float):
        super().__init__()
        self.project = nn.ModuleList([nn.Linear(c, d) for _ in range(modalities)])
        self.encoder = TransformerEncoder(d, heads, layers, dropout)
        self.head = mlp(d, _HEAD, outputs)

    def represent(self, F_M: Float[Tensor, "B M c"]) -> Float[Tensor, "B d"]:
        tokens = torch.stack([p(F_M[:, i]) for i, p in enumerate(self.project)], 1)
        return self.encoder(tokens).mean(1)

    def forward(self, F_M: Float[Tensor, "B M c"]) -> Float[Tensor, "B C"]:
        return self.head(self.represent(F_M))


class ADMC(System):
    """d: width of F and of the fusion network's tokens. The options of ADN's constructor are passed on to it.

    encoders: 'itfn' trains each modality alone, 'joint' is "w/o ITFN", 'none' takes vectors of one width as tokens.
    adn=False is "w/o ADN". fusion: 'scenario' or 'shared'. balanced: class weights in every cross-entropy.
    Stages: "itfn text", "itfn audio", ... (or "joint"), "adn", then "mf text", ..., "mf text+audio", ..., "mf enhanced", or
    "mf shared". Validation hides by itself what a scenario lacks, so its protocol should be complete.
    With a single modality there is nothing to generate: stages itfn and mf alone.
    """

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        d: int = 256,
        encoders: str = "itfn",
        adn: bool = True,
        fusion: str = "scenario",
        enhance: bool = True,
        balanced: bool = True,
        fusion_heads: int = 4,
        fusion_layers: int = 2,
        dropout: float = 0.3,
        variant: str = "paper",
        **diffusion,
    ):
        super().__init__(dims, task, outputs)
        check_options("ADMC", encoders=(encoders, ("itfn", "joint", "none")), fusion=(fusion, ("scenario", "shared")))
        M, adn = len(dims), adn and len(dims) > 1
        if encoders == "none":
            if len(set(dims.values())) > 1:
                raise DataError(
                    f"encoders 'none' takes features of one width as tokens, they are {dims}; choose 'itfn'"
                )
            d = next(iter(dims.values()))
        self.kind, self.fusion, self.enhance, self.balanced = encoders, fusion, enhance and adn, balanced
        self.stochastic, self.trained_per_pattern = adn, fusion == "scenario"
        first = {"itfn": [f"itfn {m}" for m in dims], "joint": ["joint"], "none": []}[encoders]
        self.encoders = nn.ModuleDict()
        if encoders != "none":
            self.encoders.update({m: (TextCNN if m == "text" else LSTMPool)(i, d) for m, i in dims.items()})
        attention = {"heads": fusion_heads, "layers": fusion_layers, "dropout": dropout}
        self.heads = nn.ModuleDict({m: mlp(d, _HEAD, outputs) for m in dims} if encoders == "itfn" else {})
        self.joint = MF(M, d, d, outputs, **attention) if encoders == "joint" else None
        self.adn = ADN(M, d, variant=variant, **diffusion) if adn else None
        if diffusion and not adn:
            raise DataError(f"without ADN there is no {sorted(diffusion)[0]!r} to set; drop it")
        self.register_buffer("patterns", all_patterns(M), persistent=False)  # (P, M), the last one complete
        named = ["+".join(itertools.compress(dims, p)) for p in self.patterns.tolist()]
        self.scenarios = (
            {f"mf {name}": p for p, name in enumerate(named)} if fusion == "scenario" else {"mf shared": -1}
        )
        self.stages = (*first, *(["adn"] if adn else []), *self.scenarios, *(["mf enhanced"] if self.enhance else []))
        self.mf = nn.ModuleList([MF(M, d, d, outputs, **attention) for _ in self.scenarios])
        self.mmer = MF(M, 2 * d, d, outputs, **attention) if self.enhance else None
        self.register_buffer("mean", torch.zeros(M, d))
        self.register_buffer("scale", torch.ones(M, d))
        self.register_buffer("weight", torch.ones(outputs))
        self.register_buffer("noise_seed", torch.randint(2**31, ()))
        self.completions = RowCache()
        self._stamp, self._maker, self._prepared = None, "", ""

    def setup(self, train: View) -> None:
        if self.adn is not None and not bool(availability(train.observed).all(1).any()):
            raise DataError(
                f"{train.data.where}: no training row has every modality; the diffusion learns from such rows"
            )
        if self.balanced and self.task == "multiclass":
            count = torch.bincount(train.data.target[train.rows], minlength=self.outputs)
            self.weight.copy_(len(train) / (self.outputs * count.clamp(min=1)))

    def tokens(self, batch: Batch) -> Tokens:
        """F of the frozen encoders; tokens of absent modalities are zero."""
        present = availability(batch.observed)
        if not bool(present.any(1).all()):
            row = int(batch.index[(~present.any(1)).nonzero()[0]])
            raise DataError(f"row {row} has no modality available; there is nothing to predict it from")
        if self.kind == "none" and any(x.shape[1] > 1 for x in batch.x.values()):
            raise DataError("encoders 'none' takes vectors, these are sequences; choose 'itfn'")
        training = self.encoders.training
        self.encoders.eval()
        with torch.no_grad():
            F = torch.stack([self._encode(m, batch) for m in self.dims], 1)
        self.encoders.train(training)
        return F.masked_fill(~present[..., None], 0)

    def _encode(self, m: str, batch: Batch) -> Float[Tensor, "B d"]:
        x, observed = batch.x[m], batch.observed[m]
        return self.encoders[m](x, observed) if self.kind != "none" else x.masked_fill(~observed[..., None], 0)[:, 0]

    def on_stage(self, stage: str, train: View) -> None:
        if stage == "adn" and self.adn.variant != "official":
            parts = [self.tokens(batch)[availability(batch.observed).all(1)] for batch in train.batches(_CHUNK)]
            F = torch.cat(parts)
            deviation = F.std(0, correction=0)
            alive = deviation > 1e-3 * deviation.max()  # a unit that hardly moves could wake up on a later row
            self.mean.copy_(F.mean(0))
            self.scale.copy_(torch.where(alive, deviation, 1))

    def prepare(self, stage: str, train: View) -> None:
        if stage.startswith("mf ") and self.adn is not None and self._prepared != self._fingerprint():
            for batch in train.batches(_CHUNK):  # all at once is faster than batch by batch
                self.generate(batch, self.usable(batch))
            self._prepared = self._fingerprint()

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        kind, _, m = stage.partition(" ")
        parts = {
            "itfn": lambda: (self.encoders[m], self.heads[m]),
            "joint": lambda: (self.encoders, self.joint),
            "adn": lambda: (self.adn,),
            "mf": lambda: (self.mmer,) if m == "enhanced" else (self._mf(self.scenarios[stage]),),
        }
        return [p for part in parts[kind]() for p in part.parameters()]

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        kind, _, m = stage.partition(" ")
        if kind == "itfn":
            return {f"ITFN {m}": self._task_loss(self.heads[m](self._encode(m, batch)), batch, batch.present[m])}
        if kind == "joint":
            return {"joint": self._task_loss(self._jointly(batch), batch)}
        complete = availability(batch.observed).all(1)
        if kind == "adn":
            error = self.adn.loss((self.tokens(batch) - self.mean) / self.scale)
            return {"ADN": (error * complete).sum() / complete.sum().clamp(min=1)}
        if m == "enhanced":
            completed = self.generate(batch, self._others(complete))
            return {"MMER": self._task_loss(self.mmer(self._enhanced(completed)), batch, complete)}
        usable, p = self.usable(batch), self.scenarios[stage]
        wanted = usable if p < 0 else usable & (torch.arange(usable.shape[1], device=usable.device) == p)
        completed = self.generate(batch, wanted)
        losses = [self._task_loss(self._mf(q)(completed[:, q]), batch, wanted[:, q]) for q in _some(wanted)]
        return {f"MMCR {m}": torch.stack(losses).mean()}

    def predict_in(self, stage: str, batch: Batch) -> Prediction | None:
        kind, _, m = stage.partition(" ")
        if kind == "itfn":
            return Prediction(self.heads[m](self._encode(m, batch)))
        if kind == "joint":
            return Prediction(self._jointly(batch))
        if kind == "adn":
            return None
        present = availability(batch.observed)
        if m == "enhanced":
            return self._predict(batch, present, present.all(1))
        # The scenario's own rows: each under its pattern; shared, under one pattern after the other.
        p = self.scenarios[stage]
        pattern = self.patterns[batch.index % len(self.patterns) if p < 0 else p]
        under = present & pattern
        under = torch.where(under.any(1, keepdim=True), under, present)
        return self._predict(batch, under, torch.zeros_like(present[:, 0]))

    def predict(self, batch: Batch) -> Prediction:
        present = availability(batch.observed)
        return self._predict(batch, present, present.all(1) & self.enhance)

    def _predict(self, batch: Batch, present: Bool[Tensor, "B M"], enhanced: Bool[Tensor, "B"]) -> Prediction:
        own = (present[:, None] == self.patterns).all(2)  # (B, P), one pattern of each row
        completed = self.generate(batch, own | self._others(enhanced))
        h = completed.new_zeros(len(batch), self.mf[0].head[0].in_features)
        logits = h.new_zeros(len(batch), self.outputs)
        parts = [(self._mf(p), completed[:, p], own[:, p] & ~enhanced) for p in range(len(self.patterns))]
        if self.enhance:
            parts.append((self.mmer, self._enhanced(completed), enhanced))
        for mf, F_M, rows in parts:
            if bool(rows.any()):
                h[rows] = mf.represent(F_M[rows])
                logits[rows] = mf.head(h[rows])
        guess = None
        if self.kind == "none":
            mine = completed[own]
            guess = {m: mine[:, i, None] for i, m in enumerate(self.dims)}
        return Prediction(logits, guess, h)

    def generate(self, batch: Batch, wanted: Bool[Tensor, "B P"]) -> Float[Tensor, "B P M d"]:
        """F completed from each wanted pattern, in the encoders' own units; zeros where not wanted.

        What a pattern leaves is real, the rest generated (zeros without ADN). Each is computed once and remembered.
        """
        F = self.tokens(batch)
        result = F[:, None] * (self.patterns & wanted[..., None])[..., None]  # (B, P, M, d)
        pairs = (wanted & ~self.patterns.all(1)).nonzero()  # row by row, so that one row's patterns share its prefix
        if self.adn is None or len(pairs) == 0:
            return result
        contents = row_contents(batch)

        def compute(places: Int[Tensor, "n"]) -> Tokens:
            row, pattern = pairs[places.to(pairs.device)].T
            F_o = (F[row] - self.mean) / self.scale
            whole = self.adn.complete(F_o, self.patterns[pattern], batch.index[row], int(self.noise_seed))
            return whole * self.scale + self.mean

        rows = [contents[row] + pattern.to_bytes(2) for row, pattern in pairs.tolist()]
        made = self.completions.get(self._fingerprint(), rows, compute).to(F.device)
        row, pattern = pairs.T
        result[row, pattern] = torch.where(self.patterns[pattern][..., None], F[row], made)
        return result

    def _fingerprint(self) -> str:
        """Of all that a completion depends on, but for the row; computed anew when a tensor was written to."""
        made_of = ("encoders", "adn", "mean", "scale", "noise_seed")
        weights = {k: v for k, v in self.state_dict(keep_vars=True).items() if k.startswith(made_of)}
        stamp = [(v.data_ptr(), v._version) for v in weights.values()], self.adn.settings
        if stamp != self._stamp:
            plain = {k: v.detach() for k, v in weights.items()}
            self._stamp, self._maker = stamp, fingerprint(plain, self.adn.settings)
        return self._maker

    def usable(self, batch: Batch) -> Bool[Tensor, "B P"]:
        """Which patterns a row can be put under: those that ask for nothing it lacks."""
        return within(self.patterns, availability(batch.observed))

    def _mf(self, pattern: int) -> MF:
        return self.mf[pattern if self.fusion == "scenario" else 0]

    def _others(self, rows: Bool[Tensor, "B"]) -> Bool[Tensor, "B P"]:
        """For these rows the complete pattern and those that lack one modality: what MMER reads."""
        return rows[:, None] & (self.patterns.sum(1) >= len(self.dims) - 1)

    def _enhanced(self, completed: Float[Tensor, "B P M d"]) -> Float[Tensor, "B M c"]:
        """Eq 5: F_enhd = cat(F, F'), where F'_i is generated from all modalities but i."""
        others = [(self.patterns.sum(1) == len(self.dims) - 1) & ~self.patterns[:, i] for i in range(len(self.dims))]
        F_prime = torch.stack([completed[:, int(p.nonzero()), i] for i, p in enumerate(others)], 1)
        return torch.cat([completed[:, -1], F_prime], 2)

    def _jointly(self, batch: Batch) -> Float[Tensor, "B C"]:
        F = torch.stack([self._encode(m, batch) for m in self.dims], 1)
        return self.joint(F.masked_fill(~availability(batch.observed)[..., None], 0))

    def _task_loss(self, logits: Float[Tensor, "B C"], batch: Batch, rows: Tensor | None = None) -> Float[Tensor, ""]:
        return task_loss(logits, batch.target, self.task, rows=rows, weight=self.weight)


def _some(wanted: Bool[Tensor, "B P"]) -> list[int]:
    """The patterns that any row is wanted under; the first where there is none, for a loss of zero."""
    return wanted.any(0).nonzero().flatten().tolist() or [0]
