"""SMCIR: diagnose for each sample which modality is missing, rebuild it from the text and the other modality, then fuse.

Chen, Liu, Liu, Zhang, Li, Zhu, Liu: Sample-specific Modality Diagnosis and Cross-modal Enhancement for Incomplete
Multimodal Representations (AAAI 2026). The method is not told which modality is missing: it reads zeros there, as for padding.
Only of the text, which it assumes to be always present, it knows the observed frames.

Variant 'paper' implements the equations literally; 'corrected' changes six options; 'official' computes the released code's
indicators and layers, in batches and without its stale buffers. Each option can also be set by itself:
  option          paper   corrected  official    reason for the other values
  projection      linear  unbiased   linear      random, never trained, as in the code. With the bias a zero modality has an
                                                 entropy and a cosine; 'unbiased' keeps zeros, whose indicators are 0;
                                                 'aligned', unbiased, is the ridge regression of P_L on X_m over the training
                                                 rows: a cosine of two random projections has no meaning
  entropy         norm    histogram  histogram   Eq 1, 2 give a constant modality ln N, the maximum, though the text wants
                                                 it low; the histogram of P_m's values gives 0
  indicators      HMS     HM         HMS         Eq 7 demands S <= 0, which is chance between random projections, and
                                                 gamma = 10 lets S dominate W. Without S neither condition uses it.
                                                 Table 4 compares the subsets 'H', 'M', 'S', 'HM', 'MS'; 'HS' is one, too
  rule            paper   midway     paper       Eq 7 has W on both sides: all W < -1 are flagged, none just above. 'monotone'
                                                 has max(W, 0) on the right, but flags many samples below the mean; 'midway'
                                                 is W < mu / 2, between the mean and the W = 0 of an empty modality
  statistics      batch   running    batch       mu, sigma of the batch: predictions depend on it, and a batch without the
                                                 modality has no outlier; 'running' takes them from the training rows
  reconstruction  simse   mse        none        Eq 28 (below); also 'si_mse', the mean square less half of Eq 28
  hide            random  random     none        training hides none, one or all of a row's modalities but the text, all sets
                                                 equally likely; the targets are the features before that

What the paper leaves open or contradicts, and what stands here:
  Eq 3, 6, 7    tau, the number of bins and lambda are not given: 1, and the code's 30 and .8. Eq 3 pairs the entries of P_m,
                pooled to N_L steps, with those of P_L
  Eq 9, 20, 26  linear maps commute with interpolation; the cheaper one comes first
  Eq 10         convolutions over time alone; C has one spatial axis
  Eq 18         'concatenation or addition' is addition
  Eq 21         adds X_m again, after Eq 15; it is added once
  Eq 27, 28     q is the number of samples in Eq 27; in our Eq 28 it counts all numbers of the flagged rows, which changes the
                scale of L_simse. L_simse is computed per modality, over the rows that are flagged as missing and whose real
                feature is known, and summed over modalities
  Eq 28         reads as the square of the mean error over all numbers, or as the squared norm of the mean error over samples.
                Both are useless as a loss: shuffling the targets among the samples does not change it
  Adam          epsilon 1e-8, PyTorch's value; the paper has 3e-8 on MOSI, which `fit` does not offer
  head          not in the paper: the mean over observed words for precomputed features, the first token of a language model
                (pool='mean' | 'first'), then the code's residual layer
  official      histogram entropy of P_m at full length, mutual information of the two lists of bin counts, the mean of the
                whole cosine matrix; convolutions shape the gate alone; transformers read one time step each; one head
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmlib.data.dataset import Batch, Dataset, View, frame_mean
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.layers import resized
from mmlib.models.smcir.detector import DMFD, Diagnosis, Features
from mmlib.models.smcir.generator import CMCG
from mmlib.models.smcir.language_model import TextEncoder
from mmlib.names import DataError

_CHUNK = 256
_FEW_ROWS = 5000
_VARIANTS = ("paper", "corrected", "official")
_OPTIONS = {  # all values, then that of each variant
    "projection": (("linear", "unbiased", "aligned"), "linear", "unbiased", "linear"),
    "entropy": (("norm", "histogram"), "norm", "histogram", "histogram"),
    "indicators": (("H", "M", "S", "HM", "HS", "MS", "HMS"), "HMS", "HM", "HMS"),
    "rule": (("paper", "monotone", "midway"), "paper", "midway", "paper"),
    "statistics": (("batch", "running"), "batch", "running", "batch"),
    "reconstruction": (("simse", "mse", "si_mse", "none"), "simse", "mse", "none"),
    "hide": (("random", "none"), "random", "random", "none"),
}


class SMCIR(System):
    """DMFD diagnoses (Eq 1-8), CMCG rebuilds (Eq 9-25), a linear layer fuses (Eq 26).

    dmfd=False: every row is rebuilt from the text and the other modality as they are. cmcg=False: nothing is rebuilt.
    msse=False: the condition goes to Gamma as it is. diagnosed: the modalities that DMFD watches, all but the text if None.
    text_encoder: folder or name of a transformers model that is trained, too; the text features are then token ids.
    Options that are None take the variant's value.
    """

    modalities = "text in every row, and one or two more"
    grid = {"dropout": (0.1, 0.3)}

    @classmethod
    def for_data(cls, data: Dataset, seed: int = 0, **arguments: Any) -> "SMCIR":
        """As `System.for_data`; the constructor has the sizes of the released code, 36 million parameters for three
        modalities. Up to 5,000 training rows sizes that are not given are d = 64, width = 32, lstm_layers = 2, layers = 1.
        """
        few = len(data.rows("train")) <= _FEW_ROWS
        sizes = {"d": 64, "width": 32, "lstm_layers": 2, "layers": 1} if few else {}
        return super().for_data(data, seed, **{**sizes, **arguments})

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *, variant: str = "paper",
        projection: str | None = None, entropy: str | None = None, indicators: str | None = None, rule: str | None = None,
        statistics: str | None = None, reconstruction: str | None = None, hide: str | None = None,
        diagnosed: list[str] | None = None, dmfd: bool = True, msse: bool = True, cmcg: bool = True,
        tau: float = 1.0, bins: int = 30, alpha: float = 0.5, beta: float = 0.3, gamma: float = 10.0,  # Eq 1-6
        lam: float = 0.8, eta: float = 0.6, xi: float = 0.2,  # Eq 7, 15, 29
        d: int = 128, width: int = 256, lstm_layers: int = 4, layers: int = 2, heads: int = 4, dropout: float = 0.1,
        pool: str | None = None, text: str = "text", text_encoder: str | None = None,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        others = [m for m in dims if m != text]
        if text not in dims or len(others) not in (1, 2):
            raise DataError(
                f"SMCIR is defined for {text!r}, which it assumes to be always present, and one or two more modalities; "
                f"the data have {', '.join(dims)}"
            )
        check_options("SMCIR", variant=(variant, _VARIANTS))
        values = dict(
            projection=projection, entropy=entropy, indicators=indicators, rule=rule, statistics=statistics,
            reconstruction=reconstruction, hide=hide,
        )  # fmt: skip
        for name, (choices, *defaults) in _OPTIONS.items():
            if values[name] is None:
                values[name] = defaults[_VARIANTS.index(variant)]
            check_options("SMCIR", **{name: (values[name], choices)})
        self.pool = pool or ("mean" if text_encoder is None else "first")
        check_options("SMCIR", pool=(self.pool, ("mean", "first")))
        self.diagnosed = others if diagnosed is None else list(diagnosed)
        if not set(self.diagnosed) <= set(others):
            raise DataError(f"SMCIR: diagnosed {', '.join(self.diagnosed)} must be among {', '.join(others)}")
        self.reconstruction, self.hide = values.pop("reconstruction"), values.pop("hide")
        self.text, self.others, self.xi = text, others, xi
        self.batch_dependent = dmfd and cmcg and values["statistics"] == "batch"
        self.encoder = None if text_encoder is None else TextEncoder(text_encoder)
        widths = dims if self.encoder is None else dims | {text: self.encoder.width}
        scores = dict(alpha=alpha, beta=beta, gamma=gamma, lam=lam, tau=tau, bins=bins, official=variant == "official")
        self.dmfd = DMFD(widths, text, d, **scores, **values) if dmfd else None
        shape = dict(width=width, lstm_layers=lstm_layers, heads=heads, layers=layers, dropout=dropout)
        shape |= dict(eta=eta, msse=msse, official=variant == "official")
        third = {m: next((widths[o] for o in others if o != m), None) for m in others}
        self.cmcg = nn.ModuleDict()
        for m in self.diagnosed if cmcg else ():
            self.cmcg[m] = CMCG(widths[text], widths[m], third[m], **shape)
        self.W = nn.ModuleDict({m: nn.Linear(d_m, d) for m, d_m in widths.items()})
        self.W_f = nn.Linear(len(dims) * d, d)
        self.residual, self.dropout, self.head = nn.Linear(d, d), nn.Dropout(dropout), nn.Linear(d, outputs)

    def predict(self, batch: Batch) -> Prediction:
        x = self.read(batch)
        return self._decide(self.complete(x, self.states(x)), batch)

    def read(self, batch: Batch) -> Features:
        """X_L, X_V, X_A: zeros where nothing was observed; the text through its encoder, if it has one.

        Raises DataError for a row without text.
        """
        present = batch.present[self.text]
        if not bool(present.all()):
            row = int(batch.index[(~present).nonzero()[0]])
            raise DataError(
                f"row {row} has no {self.text!r}, which SMCIR assumes to be always present; use a protocol that keeps it, or "
                "only rows that have it"
            )
        x = {m: batch.frames(m) for m in batch.x}
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
        """Eq 8, per modality (B,): 0 present, 1 missing, 2 missing with every other one. Without DMFD all are 1."""
        L = x[self.text]
        if self.dmfd is None:
            return {m: L.new_ones(len(L), dtype=torch.long) for m in self.diagnosed}
        missing = {m: verdict.missing.long() for m, verdict in self.diagnose(x).items()}
        both = torch.stack([*missing.values()]).all(0).long() if len(missing) == 2 else 0
        return {m: flag + both for m, flag in missing.items()}

    def complete(self, x: Features, states: dict[str, Int[Tensor, "B"]]) -> Features:
        """Eq 21-25: the rows that are flagged are gathered, generated once per modality, and put back."""
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

    def _decide(self, x: Features, batch: Batch) -> Prediction:
        """Eq 26 and the head."""
        fused = self.fuse(x)
        h = fused[:, 0] if self.pool == "first" else frame_mean(fused, batch.observed[self.text])
        h = h + self.dropout(self.residual(self.dropout(h)).tanh())
        return Prediction(self.head(h), representation=h)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """Eq 29: L_task + xi L_simse; the latter over flagged rows whose real feature is known."""
        clean = self.read(batch)
        x = self._hidden(clean)
        if self.dmfd is not None and self.encoder is not None:
            self.dmfd.follow({m: v.detach() for m, v in clean.items()})
        states = self.states(x)
        out = self.complete(x, states)
        logits = self._decide(out, batch).logits
        if self.task == "regression":
            terms = {"task": nn.functional.l1_loss(logits.squeeze(1), batch.target)}  # Eq 27
        else:
            terms = {"task": self.task_loss(logits, batch.target)}
        if self.reconstruction != "none" and self.xi and self.cmcg:
            rows = {m: (states[m] > 0) & batch.present[m] for m in self.cmcg}
            errors = [reconstruction_loss(clean[m][r], out[m][r], self.reconstruction) for m, r in rows.items()]
            terms["reconstruction"] = self.xi * sum(errors)
        return terms

    def _hidden(self, x: Features) -> Features:
        """Each row without none, one or all of the modalities that are not text, equally likely."""
        if self.hide == "none":
            return x
        L, M = x[self.text], len(self.others)
        pattern = torch.randint(2**M, (len(L),), device=L.device)
        hide = {m: (pattern >> i) % 2 == 1 for i, m in enumerate(self.others)}
        return {m: v if m == self.text else v.masked_fill(hide[m][:, None, None], 0) for m, v in x.items()}

    def setup(self, train: View) -> None:
        if self.dmfd is not None:
            training = self.training
            self.eval()
            self.dmfd.fit(lambda: (self.read(batch) for batch in train.batches(_CHUNK)))
            self.train(training)

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]


def reconstruction_loss(
    real: Float[Tensor, "q *shape"], generated: Float[Tensor, "q *shape"], kind: str
) -> Float[Tensor, ""]:
    """Eq 28 ('simse'): (sum of r - r^)^2 / q^2 over all q numbers. 'mse': mean squares; 'si_mse': mse - simse / 2."""
    error = real - generated
    if error.numel() == 0:
        return error.sum()
    simse = error.mean() ** 2
    if kind == "simse":
        return simse
    return error.square().mean() - (simse / 2 if kind == "si_mse" else 0)
