"""SMCIR: find out for each sample what is missing or spoilt, then rebuild it from text and what is left.

Chen, Liu, Liu, Zhang, Li, Zhu, Liu: Sample-specific Modality Diagnosis and Cross-modal Enhancement for Incomplete
Multimodal Representations (AAAI 2026). The method is not told what is missing. It reads zeros, padding included, and must
find out; only the text, which it takes for always there, is known to be observed, frame by frame. What differs:

  variant       'paper' takes the equations at their word. 'corrected' keeps their form and mends what defeats them, one
                word each: projection='unbiased', entropy='histogram', indicators='HM', rule='midway', statistics='running',
                reconstruction='mse'. 'official' computes what the released code computes, without its loops
  projection    'linear': random and never trained, with a bias, as in the code. A zero modality then becomes that bias, which
                has an entropy and a cosine like any other vector. 'unbiased': zeros stay zeros, so all three indicators of an
                empty modality are exactly 0. 'aligned': unbiased, and P_m is the ridge regression of P_L on X_m over the
                training rows, for the cosine of two random projections means nothing
  Eq 1, 2       make the entropy of a constant modality the largest there is, ln N, where the text wants it low.
                entropy='histogram' is that of the values of P_m pooled to N_L steps, 0 for a constant
  Eq 3, 6, 7    tau, the number of bins and lambda are not given: 1, and the code's 30 and .8. Eq 3 is taken between the
                entries of P_m, pooled to N_L steps, and those of P_L
  Eq 4, 7       demand S <= 0 of whatever is missing, which is a coin's toss between random projections, and gamma = 10 drowns
                the rest of W in it. An indicator that is left out plays no part in either condition
  Eq 7          has W on both sides: flags all of W < -1, nothing just above, and divides by zero at -1. rule='monotone':
                W < mu - lambda sigma / (1 + max(W, 0)), which still calls many a sample below the mean missing;
                rule='midway': W < mu / 2, half way from the mean to an empty modality, whose W is 0 if zeros stay zeros
  mu, sigma     of the batch, so that a prediction depends on its batch mates, and where the whole batch lacks a modality
                that is no outlier; statistics='running' takes them from the training rows, as they come
  Eq 9, 20, 26  a linear map and linear interpolation may change places; the cheaper order is taken
  Eq 10         convolutions over time alone; C has one spatial axis
  Eq 18, 21     the residual form; X_m is added once, as in Eq 15
  Eq 28         is the square of the mean error: any permutation of the targets gives the same loss. reconstruction='mse' is
                the mean of squares, 'si_mse' that less half of Eq 28
  training      needs samples whose missing features are known: each row loses nothing, one or all of what can be diagnosed,
                equally likely, and the targets are what was there before (hide='none': nothing is hidden, as in the code).
                A modality that a row never had is no target
  head          not described: the mean over the observed words where the text is precomputed features, the first token where
                it is a language model's (pool='mean' | 'first'), then the code's residual layer
  official      histogram entropy of P_m at full length, mutual information between the two lists of bin counts, the mean of
                the whole cosine matrix; the convolutions shape the gate alone; transformers see one time step each; one head;
                no reconstruction loss. Its stale buffers and its loops are not imitated
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmlib.data.checks import DataError
from mmlib.data.dataset import Batch, View
from mmlib.models.base import Prediction, System, check_options, masked_mean, task_loss
from mmlib.models.layers import SelfAttention, TransformerEncoder, mlp, positions, resized
from mmlib.models.smcir.detector import DMFD, Diagnosis, Features
from mmlib.models.smcir.language_model import TextEncoder

_CHUNK = 256


class _OverTime(nn.Module):
    """TransE: a transformer encoder over time with sinusoidal places; one step at a time as in the released code."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float, official: bool):
        super().__init__()
        self.encoder, self.official = TransformerEncoder(width, heads, layers, dropout), official

    def forward(self, x: Float[Tensor, "B T h"]) -> Float[Tensor, "B T h"]:
        if self.official:
            return self.encoder(x.flatten(0, 1)[:, None]).view_as(x)
        return self.encoder(x + positions(x.shape[1], x.shape[2], x))


class Align(nn.Module):
    """Eq 9: E = W_o TransE([W_L X_L || I(W_m X_m, N_L)]), the condition from the text and the modality that is there."""

    def __init__(self, d_L: int, d_m: int, width: int, heads: int, layers: int, dropout: float, official: bool):
        super().__init__()
        self.W_L, self.W_m = nn.Linear(d_L, width), nn.Linear(d_m, width)
        self.transe = _OverTime(2 * width, heads, layers, dropout, official)
        self.W_o = nn.Linear(2 * width, d_L)

    def forward(self, X_L: Float[Tensor, "B N d_L"], X_m: Float[Tensor, "B _ d_m"]) -> Float[Tensor, "B N d_L"]:
        joined = torch.cat((self.W_L(X_L), self.W_m(resized(X_m, X_L.shape[1]))), 2)
        return self.W_o(self.transe(joined))


class MSSE(nn.Module):
    """Multi-scale attention enhancement (Eq 10-14) of a condition C (B, d_L, N_L)."""

    def __init__(self, d: int, official: bool = False):
        super().__init__()
        self.official = official
        self.convolutions = nn.ModuleList([nn.Conv1d(d, d, k, padding=k // 2) for k in (1, 3, 5)])
        self.fc = nn.Conv1d(3 * d, d, 1)
        hidden = max(d // 8, 8)  # a LayerNorm over few numbers says little, over one nothing
        self.W_1, self.norm, self.W_2 = nn.Linear(2 * d, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, d)

    def forward(self, C: Float[Tensor, "B d N"]) -> Float[Tensor, "B d N"]:
        """MS = Z * A + Z; in the released code C * A + C."""
        Z = self.fc(torch.cat([conv(C) for conv in self.convolutions], 1))  # Eq 10, 11
        Q = torch.cat((Z.amax(2), Z.mean(2)), 1)  # Eq 12
        A = self.W_2(self.norm(self.W_1(Q)).relu()).sigmoid()[..., None]  # Eq 13
        return C * A + C if self.official else Z * A + Z  # Eq 14


class Gamma(nn.Module):
    """The core transformation (Eq 16-20): MS (B, N_L, d_L) -> a modality of d_m numbers, still in N_L steps."""

    def __init__(self, d_L: int, d_m: int, width: int, n: int, heads: int, layers: int, dropout: float, official: bool):
        super().__init__()
        self.norm = nn.LayerNorm(d_L)
        self.bilstm = nn.LSTM(d_L, width, n, batch_first=True, bidirectional=True)
        self.transe = _OverTime(2 * width, heads, layers, dropout, official)
        self.W = mlp(2 * width, width, d_m)
        self.mha = SelfAttention(d_m, 1 if official else max(h for h in range(1, 5) if d_m % h == 0))
        self.norm_out = nn.LayerNorm(d_m)

    def forward(self, MS: Float[Tensor, "B N d_L"]) -> Float[Tensor, "B N d_m"]:
        K_lstm = self.bilstm(self.norm(MS))[0]  # Eq 16
        K = K_lstm + self.transe(K_lstm)  # Eq 17, 18
        P = self.W(K)  # Eq 19
        return self.norm_out(self.mha(P) + P)  # Eq 20 before the interpolation


class CMCG(nn.Module):
    """Context-aware completion generator of one modality (Eq 9-15).

    d_other: width of the other modality that can be there; None where there is only the text.
    """

    def __init__(
        self,
        d_L: int,
        d_m: int,
        d_other: int | None,
        *,
        width: int,
        lstm_layers: int,
        heads: int,
        layers: int,
        eta: float,
        dropout: float,
        msse: bool,
        official: bool,
    ):
        super().__init__()
        self.eta = eta
        shape = dict(heads=heads, layers=layers, dropout=dropout, official=official)
        self.align = None if d_other is None else Align(d_L, d_other, width, **shape)
        self.msse = MSSE(d_L, official) if msse else nn.Identity()
        self.gamma = Gamma(d_L, d_m, width, lstm_layers, **shape)

    def forward(
        self,
        X_L: Float[Tensor, "B N d_L"],
        X_miss: Float[Tensor, "B T d_m"],
        X_other: Float[Tensor, "B _ _"] | None,
        there: Bool[Tensor, "B"],
    ) -> Float[Tensor, "B T d_m"]:
        """G = eta Gamma(MS) + X_miss (Eq 15). there: rows that have the other modality; the text alone guides the rest."""
        C = X_L
        if self.align is not None:
            rows = there.nonzero().flatten()
            if len(rows):
                C = C.index_copy(0, rows, self.align(X_L[rows], X_other[rows]))
        MS = self.msse(C.transpose(1, 2)).transpose(1, 2)
        return self.eta * resized(self.gamma(MS), X_miss.shape[1]) + X_miss


def reconstruction_loss(
    real: Float[Tensor, "q *shape"], made: Float[Tensor, "q *shape"], kind: str
) -> Float[Tensor, ""]:
    """Eq 28 ('simse'): (sum of r - r^)^2 / q^2 over all q numbers. 'mse': mean squares; 'si_mse': mse - simse / 2."""
    error = real - made
    if error.numel() == 0:
        return error.sum()
    simse = error.mean() ** 2
    if kind == "simse":
        return simse
    return error.square().mean() - (simse / 2 if kind == "si_mse" else 0)


_VARIANTS = {
    "paper": dict(
        projection="linear", entropy="norm", indicators="HMS", rule="paper", statistics="batch",
        reconstruction="simse", hide="random",
    ),
    "corrected": dict(
        projection="unbiased", entropy="histogram", indicators="HM", rule="midway", statistics="running",
        reconstruction="mse", hide="random",
    ),
    "official": dict(
        projection="linear", entropy="histogram", indicators="HMS", rule="paper", statistics="batch",
        reconstruction="none", hide="none",
    ),
}  # fmt: skip
_CHOICES = {
    "projection": ("linear", "unbiased", "aligned"),
    "entropy": ("norm", "histogram"),
    "indicators": ("H", "M", "S", "HM", "HS", "MS", "HMS"),
    "rule": ("paper", "monotone", "midway"),
    "statistics": ("batch", "running"),
    "reconstruction": ("simse", "mse", "si_mse", "none"),
    "hide": ("random", "none"),
}


class SMCIR(System):
    """DMFD finds what is missing, CMCG rebuilds it, a fusion layer reads all (Eq 26).

    Without DMFD every row is rebuilt from the text and the other modality as they are; without CMCG nothing is rebuilt;
    without MSSE the condition goes to Gamma as it is. diagnosed: the modalities that DMFD watches, all but the text if None.
    text_encoder: folder or name of a transformers model that is trained along; the text features are then token ids.
    Options that are None are the variant's.
    """

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        variant: str = "paper",
        projection: str | None = None,
        entropy: str | None = None,
        rule: str | None = None,
        statistics: str | None = None,
        reconstruction: str | None = None,
        indicators: str | None = None,
        hide: str | None = None,
        diagnosed: list[str] | None = None,
        dmfd: bool = True,
        msse: bool = True,
        cmcg: bool = True,
        alpha: float = 0.5,
        beta: float = 0.3,
        gamma: float = 10.0,
        lam: float = 0.8,
        tau: float = 1.0,
        bins: int = 30,
        eta: float = 0.6,
        xi: float = 0.2,
        d: int = 128,
        width: int = 256,
        lstm_layers: int = 4,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        pool: str | None = None,
        text: str = "text",
        text_encoder: str | None = None,
    ):
        super().__init__(dims, task, outputs)
        others = [m for m in dims if m != text]
        if text not in dims or len(others) not in (1, 2):
            raise DataError(
                f"SMCIR is defined for {text!r}, which it takes for always there, and one or two more modalities; "
                f"the data have {', '.join(dims)}"
            )
        check_options("SMCIR", variant=(variant, tuple(_VARIANTS)))
        given = dict(
            projection=projection, entropy=entropy, indicators=indicators, rule=rule, statistics=statistics,
            reconstruction=reconstruction, hide=hide,
        )  # fmt: skip
        chosen = _VARIANTS[variant] | {k: v for k, v in given.items() if v is not None}
        self.pool = pool or ("mean" if text_encoder is None else "first")
        check_options("SMCIR", pool=(self.pool, ("mean", "first")), **{k: (v, _CHOICES[k]) for k, v in chosen.items()})
        self.reconstruction, self.hide = chosen.pop("reconstruction"), chosen.pop("hide")
        official = variant == "official"
        self.diagnosed = others if diagnosed is None else list(diagnosed)
        if not set(self.diagnosed) <= set(others):
            raise DataError(f"SMCIR: diagnosed {', '.join(self.diagnosed)} must be among {', '.join(others)}")
        self.batch_dependent = dmfd and cmcg and chosen["statistics"] == "batch"
        self.text, self.others, self.xi = text, others, xi
        self.encoder = None if text_encoder is None else TextEncoder(text_encoder)
        widths = dims if self.encoder is None else dims | {text: self.encoder.width}
        self.dmfd = None
        if dmfd:
            self.dmfd = DMFD(
                widths, text, d, alpha=alpha, beta=beta, gamma=gamma, lam=lam, tau=tau, bins=bins,
                official=official, **chosen,
            )  # fmt: skip
        other = {m: next((widths[o] for o in others if o != m), None) for m in others}
        self.cmcg = nn.ModuleDict()
        for m in self.diagnosed if cmcg else ():
            self.cmcg[m] = CMCG(
                widths[text], widths[m], other[m], width=width, lstm_layers=lstm_layers, heads=heads, layers=layers,
                eta=eta, dropout=dropout, msse=msse, official=official,
            )  # fmt: skip
        self.W = nn.ModuleDict({m: nn.Linear(d_m, d) for m, d_m in widths.items()})
        self.W_f = nn.Linear(len(dims) * d, d)
        self.residual, self.dropout, self.head = nn.Linear(d, d), nn.Dropout(dropout), nn.Linear(d, outputs)

    def setup(self, train: View) -> None:
        if self.dmfd is not None:
            was_training = self.training
            self.eval()
            self.dmfd.fit(lambda: (self.read(batch) for batch in train.batches(_CHUNK)))
            self.train(was_training)

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]

    def read(self, batch: Batch) -> Features:
        """X_L, X_V, X_A: zeros where nothing was observed; the text through its encoder, if it has one.

        Raises DataError for a row without text.
        """
        present = batch.present[self.text]
        if not bool(present.all()):
            row = int(batch.index[(~present).nonzero()[0]])
            raise DataError(
                f"row {row} has no {self.text!r}, which SMCIR takes for always there; use a protocol that keeps it, or "
                "only rows that have it"
            )
        x = {m: v.masked_fill(~batch.observed[m][..., None], 0) for m, v in batch.x.items()}
        if self.encoder is not None:
            observed = batch.observed[self.text]
            x[self.text] = self.encoder(x[self.text], observed).masked_fill(~observed[..., None], 0)
        return x

    def diagnose(self, x: Features) -> dict[str, Diagnosis]:
        """Eq 1-7 for each watched modality."""
        x = {k: v.detach() for k, v in x.items()}
        P_L = self.dmfd.project[self.text](x[self.text])
        return {m: self.dmfd(x, m, P_L) for m in self.diagnosed}

    def states(self, x: Features) -> dict[str, Int[Tensor, "B"]]:
        """Eq 8, per modality (B,): 0 there, 1 missing, 2 missing with every other one. Without DMFD all are 1."""
        L = x[self.text]
        if self.dmfd is None:
            return {m: L.new_ones(len(L), dtype=torch.long) for m in self.diagnosed}
        missing = {m: verdict.missing.long() for m, verdict in self.diagnose(x).items()}
        both = torch.stack([*missing.values()]).all(0).long() if len(missing) == 2 else 0
        return {m: flag + both for m, flag in missing.items()}

    def complete(self, x: Features, states: dict[str, Int[Tensor, "B"]]) -> Features:
        """Eq 21-25: flagged rows gathered, generated once per modality, put back; all others as they are."""
        out = dict(x)
        for m, generator in self.cmcg.items():
            rows = (states[m] > 0).nonzero().flatten()
            if len(rows):
                other = next((x[o][rows] for o in self.others if o != m), None)
                G = generator(x[self.text][rows], x[m][rows], other, states[m][rows] == 1)
                out[m] = x[m].index_copy(0, rows, G)
        return out

    def fuse(self, x: Features) -> Float[Tensor, "B N d"]:
        """Eq 26: O = [L W_L || I(V W_V, N_L) || I(A W_A, N_L)] W_f."""
        N = x[self.text].shape[1]
        return self.W_f(torch.cat([self.W[m](resized(v, N)) for m, v in x.items()], 2))

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """Eq 29: L_task + xi L_simse; the latter over what was rebuilt and is known."""
        clean = self.read(batch)
        x = self._hidden(clean)
        if self.dmfd is not None and self.encoder is not None:
            self.dmfd.follow({m: v.detach() for m, v in clean.items()})
        states = self.states(x)
        out = self.complete(x, states)
        logits, target = self._decide(out, batch).logits, batch.target
        if self.task == "regression":
            terms = {"task": nn.functional.l1_loss(logits.squeeze(1), target)}  # Eq 27
        else:
            terms = {"task": task_loss(logits, target, self.task)}
        if self.reconstruction != "none" and self.xi and self.cmcg:
            known = {m: (states[m] > 0) & batch.present[m] for m in self.cmcg}
            errors = [reconstruction_loss(clean[m][k], out[m][k], self.reconstruction) for m, k in known.items()]
            terms["reconstruction"] = self.xi * sum(errors)
        return terms

    def predict(self, batch: Batch) -> Prediction:
        x = self.read(batch)
        return self._decide(self.complete(x, self.states(x)), batch)

    def _hidden(self, x: Features) -> Features:
        """Each row without none, one or all of the modalities that are not text, equally likely."""
        if self.hide == "none":
            return x
        L, M = x[self.text], len(self.others)
        pattern = torch.randint(2**M, (len(L),), device=L.device)
        gone = {m: (pattern >> i) % 2 == 1 for i, m in enumerate(self.others)}
        return {m: v if m == self.text else v.masked_fill(gone[m][:, None, None], 0) for m, v in x.items()}

    def _decide(self, out: Features, batch: Batch) -> Prediction:
        fused = self.fuse(out)
        o = fused[:, 0] if self.pool == "first" else masked_mean(fused, batch.observed[self.text])
        o = o + self.dropout(self.residual(self.dropout(o)).tanh())
        return Prediction(self.head(o), representation=o)
