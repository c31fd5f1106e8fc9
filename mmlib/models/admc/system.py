"""ADMC: a diffusion model completes the stacked features of all modalities, then a fusion network classifies them.

W. Zhang, J. Chen, Y. J. Wang, E. Zhu, X. Yang, Y. Wang: ADMC: Attention-based Diffusion Model for Missing Modalities Feature
Completion (2025). The released code (vzhang-mm/ADMC) runs another model; variant 'official' computes its diffusion.

Three parts, each frozen when the next one trains: ITFN (an encoder and a head per modality), ADN (the diffusion), MF (fusion
networks). What the paper leaves open, what we do, and [what the released code does, where it differs]:
  denoiser       self-attention, as the text says [a convolutional U-Net; the attention is built and never called]
  eps'           v-prediction (Salimans & Ho 2022, Progressive Distillation for Fast Sampling of Diffusion Models): a linear
                 path leads around the network [no such path]
  tokens         vectors of modality and time are added to each token [no vector of modality: Eq 2 cannot tell tokens apart]
  attention      hidden 1024 is the width of the feed-forward layers, four times the token's 256; LayerNorm stands before
                 each part of a layer (pre-norm), in ADN and in MF
  scale of F     standardised per dimension on the training rows [not; every F^0 is clamped to -1..1]
  Eq 1           covariance (1 - abar) I; the paper prints epsilon for I
  sigma_n        that of the posterior, option 'beta'; no noise in the last step
  schedule       the text's 3e-4..6e-2 [2e-4..4e-2]
  reverse        steps N..n+1 unconditional; the available part is merged in at step n itself and after every step below n
                 [steps labelled N-n..1, whose result counts as level n; merged in once, at n, and put back at the end]
  draws          one (n, eps) per row and training step [six, summed]
  training of MF one network per set of available modalities, each a stage with a best epoch of its own, on features that
                 are generated once; fusion='shared' trains one network for all sets
  full input     MMER: F and what the other modalities generate, side by side. With enhance=True `predict` sends every
                 complete row there, so that it never uses the network of stage 'mf text+audio+vision', which is trained
  w/o ITFN       encoders trained together with a fusion network, then frozen; w/o ADN: zeros for missing features
  MF             a linear map per modality, 2 layers, mean, 2 linear layers [and a ReLU on the logits]; its dropout stands in
                 the 2 layers and removes whole channels, the same ones in every token of a row
  class weights  none unless the study has them, `fit(balanced=True)`; the paper mentions none [balanced cross-entropy]
  early stopping the best validation epoch of each encoder [only if its accuracy exceeds one half, else none is saved]
  padding        frames that are not observed reach neither LSTM nor maximum
Beyond the paper: variant 'conditional' (`ConditionalADN`), whose loss weighs the steps differently as well, so that a gain
need not come from conditioning; resample > 1 (RePaint, Lugmayr et al. 2022); and sampler 'ddim' (Song et al. 2021), which draws
noise as DDPM does with eta = 1 and none with eta = 0.
"""

import itertools
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmlib.data.dataset import Batch, Dataset, View
from mmlib.files import fingerprint
from mmlib.missing.patterns import all_patterns, availability, within
from mmlib.models.admc.diffusion import _CHUNK, VARIANTS, Tokens
from mmlib.models.admc.row_cache import RowCache, row_contents
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.layers import TransformerEncoder, mlp
from mmlib.models.pooling import LSTMPool, TextCNN
from mmlib.names import DataError

_HEAD = 128
_FEW_ROWS = 5000
_FEW_MODALITIES = 3


class ADMC(System):
    """d: width of F and of the fusion network's tokens. Diffusion has the options of `mmlib.models.admc.diffusion.ADN`.

    encoders: 'itfn' trains each modality alone, 'joint' is "w/o ITFN", 'none' takes vectors of one width as tokens.
    adn=False is "w/o ADN". fusion: 'scenario' or 'shared'.
    Stages: "itfn text", "itfn audio", ... (or "joint"), "adn", then "mf text", ..., "mf text+audio", ..., "mf enhanced", or
    "mf shared". Validation hides what a scenario lacks, so its protocol should be complete.
    With a single modality there is nothing to generate: the stages are itfn and mf. `for_data` chooses sizes by the data.
    """

    grid = {"dropout": (0.1, 0.3)}

    @classmethod
    def for_data(cls, data: Dataset, seed: int = 0, **arguments: Any) -> "ADMC":
        """As `System.for_data`; the constructor has the paper's sizes, here those that are not given follow the data.

        Up to 5,000 training rows: d = 64, 2 layers of 4 heads and 25 steps of DDIM in the diffusion, 1 layer in the fusion.
        Above three modalities, which have more than 7 sets: fusion = 'shared'.
        """
        sizes: dict[str, Any] = {"fusion": "shared"} if len(data.modalities) > _FEW_MODALITIES else {}
        if len(data.rows("train")) <= _FEW_ROWS:
            sizes |= {"d": 64, "fusion_layers": 1}
            if arguments.get("adn", True) and len(data.modalities) > 1:
                sizes |= {"layers": 2, "heads": 4} | (
                    {} if arguments.get("variant") == "official" else {"sampler": "ddim"}
                )
        return super().for_data(data, seed, **{**sizes, **arguments})

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *, d: int = 256, encoders: str = "itfn",
        adn: bool = True, variant: str = "paper", fusion: str = "scenario", enhance: bool = True,
        fusion_heads: int = 4, fusion_layers: int = 2, dropout: float = 0.3, **diffusion,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        check_options("ADMC", encoders=(encoders, ("itfn", "joint", "none")), fusion=(fusion, ("scenario", "shared")))
        check_options("ADMC", variant=(variant, tuple(VARIANTS)))
        M, adn = len(dims), adn and len(dims) > 1
        if encoders == "none":
            d = next(iter(dims.values()))
            if set(dims.values()) != {d}:
                raise DataError(f"encoders 'none' takes features of one width as tokens, not {dims}; choose 'itfn'")
        self.kind, self.fusion, self.enhance = encoders, fusion, enhance and adn
        self.stochastic, self.trained_per_pattern, self.needs_complete_rows = adn, fusion == "scenario", M > 1
        self.encoders = nn.ModuleDict()
        if encoders != "none":
            self.encoders.update({m: (TextCNN if m == "text" else LSTMPool)(i, d) for m, i in dims.items()})
        attention = {"heads": fusion_heads, "layers": fusion_layers, "dropout": dropout}
        self.heads = nn.ModuleDict({m: mlp(d, _HEAD, outputs) for m in dims} if encoders == "itfn" else {})
        self.joint = MF(M, d, d, outputs, **attention) if encoders == "joint" else None
        self.adn = VARIANTS[variant](M, d, **diffusion) if adn else None
        if diffusion and not adn:
            raise DataError(f"without ADN there is no {sorted(diffusion)[0]!r} to set; drop it")
        self.register_buffer("patterns", all_patterns(M), persistent=False)  # (P, M), the last one complete
        names = ["+".join(itertools.compress(dims, p)) for p in self.patterns.tolist()]
        self.scenarios = {"mf shared": -1} if fusion == "shared" else {f"mf {name}": p for p, name in enumerate(names)}
        first = {"itfn": [f"itfn {m}" for m in dims], "joint": ["joint"], "none": []}[encoders]
        self.stages = (*first, *(["adn"] if adn else []), *self.scenarios, *(["mf enhanced"] if self.enhance else []))
        self.mf = nn.ModuleList([MF(M, d, d, outputs, **attention) for _ in self.scenarios])
        self.mmer = MF(M, 2 * d, d, outputs, **attention) if self.enhance else None
        self.register_buffer("mean", torch.zeros(M, d))
        self.register_buffer("scale", torch.ones(M, d))
        self.register_buffer("noise_seed", torch.randint(2**31, ()))
        self.completions = RowCache()
        self._stamp, self._maker, self._prepared = None, "", ""

    def predict(self, batch: Batch) -> Prediction:
        """MMCR for rows that lack a modality, MMER for complete rows (MMCR with enhance=False)."""
        present = availability(batch.observed)
        return self._predict(batch, present, present.all(1) & self.enhance)

    def _predict(self, batch: Batch, present: Bool[Tensor, "B M"], enhanced: Bool[Tensor, "B"]) -> Prediction:
        """Each row completed from the modalities in `present`, then Eq 6; for rows in `enhanced` Eq 5, then Eq 6."""
        pattern = (present[:, None] == self.patterns).all(2)  # (B, P), one pattern per row
        completed = self.generate(batch, pattern | self._others(enhanced))  # (B, P, M, d)
        parts = [(self._mf(p), completed[:, p], pattern[:, p] & ~enhanced) for p in range(len(self.patterns))]
        if self.enhance:
            parts.append((self.mmer, self._enhanced(completed), enhanced))
        h = completed.new_zeros(len(batch), completed.shape[3])
        logits = h.new_zeros(len(batch), self.outputs)
        for mf, F_M, rows in parts:
            if bool(rows.any()):
                h[rows] = mf.represent(F_M[rows])
                logits[rows] = mf.head(h[rows])
        tokens = {m: completed[pattern][:, [i]] for i, m in enumerate(self.dims)} if self.kind == "none" else None
        return Prediction(logits, tokens, h)

    def generate(self, batch: Batch, patterns: Bool[Tensor, "B P"]) -> Float[Tensor, "B P M d"]:
        """F completed by ADN from the modalities of each requested pattern, in the encoders' units; zeros elsewhere.

        Tokens of the pattern are real, the others generated (zeros without ADN). Each completion is computed once and stored.
        """
        F = self.tokens(batch)
        result = F[:, None] * (self.patterns & patterns[..., None])[..., None]  # (B, P, M, d)
        pairs = (patterns & ~self.patterns.all(1)).nonzero()  # row by row: the patterns of a row share steps
        if self.adn is None or len(pairs) == 0:
            return result
        contents = row_contents(batch)

        def compute(places: Int[Tensor, "n"]) -> Tokens:
            row, pattern = pairs[places.to(pairs.device)].T
            F_o = (F[row] - self.mean) / self.scale
            completed = self.adn.complete(F_o, self.patterns[pattern], batch.index[row], int(self.noise_seed))
            return completed * self.scale + self.mean

        rows = [contents[row] + pattern.to_bytes(2) for row, pattern in pairs.tolist()]
        completed = self.completions.get(self._fingerprint(), rows, compute).to(F.device)
        row, pattern = pairs.T
        result[row, pattern] = torch.where(self.patterns[pattern][..., None], F[row], completed)
        return result

    def tokens(self, batch: Batch) -> Tokens:
        """F of the frozen encoders; tokens of absent modalities are zero.

        Raises DataError for a row without any modality and, with encoders 'none', for sequences.
        """
        present = availability(batch.observed)
        if not bool(present.any(1).all()):
            row = int(batch.index[(~present.any(1)).nonzero()[0]])
            raise DataError(f"row {row} has no modality available; there is nothing to predict it from")
        if self.kind == "none" and any(x.shape[1] > 1 for x in batch.x.values()):
            raise DataError("encoders 'none' takes vectors, these are sequences; choose 'itfn'")
        training = self.encoders.training
        self.encoders.eval()
        with torch.no_grad():
            F = self._stacked(batch)
        self.encoders.train(training)
        return F

    def _stacked(self, batch: Batch) -> Tokens:
        F = torch.stack([self._encode(m, batch) for m in self.dims], 1)
        return F.masked_fill(~availability(batch.observed)[..., None], 0)

    def _encode(self, m: str, batch: Batch) -> Float[Tensor, "B d"]:
        return self.encoders[m](batch.x[m], batch.observed[m]) if self.kind != "none" else batch.frames(m)[:, 0]

    def _enhanced(self, completed: Float[Tensor, "B P M d"]) -> Float[Tensor, "B M c"]:
        """Eq 5: F_enhd = cat(F, F'), where F'_i is generated from all modalities but i."""
        others = [(self.patterns.sum(1) == len(self.dims) - 1) & ~self.patterns[:, i] for i in range(len(self.dims))]
        F_prime = torch.stack([completed[:, int(p.nonzero()), i] for i, p in enumerate(others)], 1)
        return torch.cat([completed[:, -1], F_prime], 2)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The task loss of the network that the stage trains; for "adn" ADN's own. Each over the rows that it can use."""
        kind, _, m = stage.partition(" ")
        if kind == "itfn":
            logits = self.heads[m](self._encode(m, batch))
            return {f"ITFN {m}": self.task_loss(logits, batch.target, rows=batch.present[m])}
        if kind == "joint":
            return {"joint": self.task_loss(self.joint(self._stacked(batch)), batch.target)}
        complete = availability(batch.observed).all(1)
        if kind == "adn":
            error = self.adn.loss((self.tokens(batch) - self.mean) / self.scale)
            return {"ADN": (error * complete).sum() / complete.sum().clamp(min=1)}
        if m == "enhanced":
            completed = self.generate(batch, self._others(complete))
            return {"MMER": self.task_loss(self.mmer(self._enhanced(completed)), batch.target, rows=complete)}
        patterns, p = self.usable(batch), self.scenarios[stage]
        if p >= 0:
            patterns = patterns & (torch.arange(patterns.shape[1], device=patterns.device) == p)
        completed = self.generate(batch, patterns)
        columns = patterns.any(0).nonzero().flatten().tolist() or [0]  # without any row a loss of zero
        losses = [self.task_loss(self._mf(q)(completed[:, q]), batch.target, rows=patterns[:, q]) for q in columns]
        return {f"MMCR {m}": torch.stack(losses).mean()}

    def setup(self, train: View) -> None:
        if self.adn is not None and not bool(availability(train.observed).all(1).any()):
            raise DataError(f"{train.data.where}: no training row has every modality; ADN learns from such rows")

    def parts_of(self, stage: str) -> tuple[str, ...]:
        kind, _, names = stage.partition(" ")
        if kind != "mf" or names == "shared" or self.kind != "itfn":
            return ()
        return tuple(f"itfn {m}" for m in (self.dims if names == "enhanced" else names.split("+")))

    def on_stage(self, stage: str, train: View) -> None:
        if stage == "adn" and self.adn.standardised:
            complete = availability(train.observed).all(1)
            F = torch.cat([self.tokens(batch) for batch in train.batches(_CHUNK)])[complete]
            deviation = F.std(0, correction=0)
            alive = deviation > 1e-3 * deviation.max()  # other units hardly move here, but could on a later row
            self.mean.copy_(F.mean(0))
            self.scale.copy_(torch.where(alive, deviation, 1))

    def prepare(self, stage: str, train: View) -> None:
        if stage.startswith("mf ") and self.adn is not None and self._prepared != self._fingerprint():
            for batch in train.batches(_CHUNK):  # large batches are faster than those of the training
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

    def predict_in(self, stage: str, batch: Batch) -> Prediction | None:
        kind, _, m = stage.partition(" ")
        if kind == "itfn":
            return Prediction(self.heads[m](self._encode(m, batch)))
        if kind == "joint":
            return Prediction(self.joint(self._stacked(batch)))
        if kind == "adn":
            return None
        present = availability(batch.observed)
        if m == "enhanced":
            return self._predict(batch, present, present.all(1))
        # Each row under the pattern of its scenario; for 'shared' the patterns take turns.
        p = self.scenarios[stage]
        under = present & self.patterns[batch.index % len(self.patterns) if p < 0 else p]
        under = torch.where(under.any(1, keepdim=True), under, present)
        return self._predict(batch, under, torch.zeros_like(present[:, 0]))

    def usable(self, batch: Batch) -> Bool[Tensor, "B P"]:
        """The patterns that need nothing that a row lacks."""
        return within(self.patterns, availability(batch.observed))

    def _others(self, rows: Bool[Tensor, "B"]) -> Bool[Tensor, "B P"]:
        """What MMER reads of these rows: the complete pattern and those that lack one modality."""
        return rows[:, None] & (self.patterns.sum(1) >= len(self.dims) - 1)

    def _mf(self, pattern: int) -> "MF":
        return self.mf[pattern if self.fusion == "scenario" else 0]

    def _fingerprint(self) -> str:
        """Of all that a completion depends on, except the row; computed anew after a tensor was written to."""
        names = ("encoders", "adn", "mean", "scale", "noise_seed")
        weights = {k: v for k, v in self.state_dict(keep_vars=True).items() if k.startswith(names)}
        stamp = [(v.data_ptr(), v._version) for v in weights.values()], self.adn.settings
        if stamp != self._stamp:
            self._stamp = stamp
            self._maker = fingerprint({k: v.detach() for k, v in weights.items()}, self.adn.settings)
        return self._maker


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
