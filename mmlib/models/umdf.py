"""UMDF: one network teaches itself to agree on two versions ("views") of a sample in which different parts are missing.

Li, Yang, Lei, Wang, Wang, Su, Yang, Wang, Sun, Zhang: A Unified Self-Distillation Framework for Multimodal Sentiment
Analysis with Uncertain Missing Modalities (AAAI 2024). No code was released. Where the paper leaves something open or an
equation is unclear (first value: the default):

  views         The paper: any two missing versions of a clip, the complete one included. Here a view keeps a random set of
                modalities, all non-empty sets equally likely, and loses each frame with one probability from
                {0, .1, ..., p_max}. The paper does not say whether the two may be equal. views='missing': they must
                differ, unless the row has a single modality. With one frame per modality a view of audio alone has then
                no equal, so no training pair lacks all but the audio, a condition of the test. views='any': two
                independent views, which may be equal; with three modalities of one frame 1 pair in 49 is audio alone
  control       views='one': one such view in both streams and the task loss alone, which is modality dropout and frame loss
                without distillation; lambda1, lambda2, f_y, streams and the gate of Eq 10 have no effect.
                views='complete': both views are the row as it is
  lambda1, 2    not given: 0.1 and 1, to be chosen on validation
  Eq 2          The kernel is not given: the mean of five Gaussian kernels around the median squared distance (kernel='rbf');
                kernel='linear' takes phi as the identity. The paper calls its estimator unbiased, but it is the biased
                one (estimator='biased'); 'unbiased' is the other
  Eq 3          The mean over i is of a number that does not depend on i, and the pairing of h_a with h_b has no influence
                (feature='mmd'); feature='paired' compares the two views of each row instead
  Eq 5          f_y is the final classifier (f_y='shared') or a head that only this loss trains ('separate'). In both cases
                the loss is zero if f_y gives the same output for every row; f_y='supervised' adds the task loss of f_y(h_a)
                and f_y(h_b), which is not in the paper
  Eq 7          MCIM layer l + 1 takes the outputs of layer l as targets and as sources. Missing and padded frames are
                attended to like others (masked=False); masked=True excludes them
  T             All modalities are interpolated to the length of the first sequence; the "last element" is the last step at
                which a sequence is observed. A vector has no place in time: its copies fill all steps, and a view of
                vectors alone is read at the last of them, as a training pair of this view with any other is
  DFIM          "Matrix multiplication of M_k with H_k" would leave one vector, but Eq 10 needs a sequence: each frame is
                multiplied by its own score, and by T because softmax weights shrink frames to 1 / T (scaling='length');
                scaling='none' omits T
  streams       As printed, DFIM integrates S_a with S_b in training, but a clip with its copy at test (streams='views'): with
                views='missing' a row with several modalities never trains on two equal streams. streams='cloned', which is
                not in the paper, integrates each view with itself
  task loss     squared error as printed, although MAE is reported; `fit(absolute=True)` has the other
  encoders      two pre-norm layers as in MulT, whose other settings the paper shares; post-norm layers do not train with
                the learning rate printed for IEMOCAP
  dropout       0.1 on residuals and 0.25 on Z as in MulT, of whole channels; none inside the FFN or on attention weights
"""

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad

from mmlib.data.dataset import Batch
from mmlib.missing.patterns import Observed, all_patterns, availability, within
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.hiding import lose_frames
from mmlib.models.layers import CrossmodalAttention, FrameDropout, TransformerEncoder, at_step, mlp, positions, resized
from mmlib.names import DataError

Sequences = list[Float[Tensor, "B _ d"]]
_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd2(
    h_a: Float[Tensor, "n h"], h_b: Float[Tensor, "n h"], kernel: str = "rbf", estimator: str = "biased"
) -> Float[Tensor, ""]:
    """Eq 1, 2: |mean phi(h_a) - mean phi(h_b)|^2 in the kernel's space, estimated from n vectors of each distribution.

    'biased' is Eq 2 as printed; 'unbiased' excludes the product of each vector with itself and is 0 for n = 1.
    """
    n, h = len(h_a), torch.cat((h_a, h_b))
    K = h @ h.T  # (2n, 2n)
    if kernel == "rbf":
        norm = K.diagonal()
        distance = (norm[:, None] + norm - 2 * K).clamp(min=0)
        pairs = torch.ones_like(K, dtype=torch.bool).triu(1)
        bandwidth = distance.detach()[pairs].median().clamp(min=1e-12)
        K = sum(torch.exp(-distance / (c * bandwidth)) for c in _BANDWIDTHS) / len(_BANDWIDTHS)
    inner, between = K[:n, :n] + K[n:, n:], K[:n, n:]
    if estimator == "biased":
        return inner.mean() - 2 * between.mean()
    if n == 1:
        return 0 * between.sum()
    return (inner.sum() - inner.diagonal().sum()) / (n * (n - 1)) - 2 * between.mean()


def kl(log_p: Float[Tensor, "*B C"], log_q: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """Eq 4, per row: KL(p || q) = sum_c p_c log(p_c / q_c), natural logarithm."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def js(logits_a: Float[Tensor, "n C"], logits_b: Float[Tensor, "n C"], task: str) -> Float[Tensor, ""]:
    """Eq 5: Jensen-Shannon divergence between the predictions of the two views, mean over rows, between 0 and ln 2.

    multiclass: of the softmax over C classes. multilabel, multibinary: of each label's yes and no, mean over labels.
    """
    if task == "multiclass":
        log_a, log_b = logits_a.log_softmax(1), logits_b.log_softmax(1)  # (n, C)
    else:
        log_a, log_b = (torch.stack((logsigmoid(x), logsigmoid(-x)), 2) for x in (logits_a, logits_b))  # (n, C, 2)
    log_m = torch.logaddexp(log_a, log_b) - math.log(2)
    return (kl(log_a, log_m) + kl(log_b, log_m)).mean() / 2


class _Target(nn.Module):
    """The weights of one MCIM layer for one target modality."""

    def __init__(self, d: int, heads: int, others: int):
        super().__init__()
        self.coarse, self.norm_coarse = CrossmodalAttention(d, heads), nn.LayerNorm(d)
        self.fine = nn.ModuleList([CrossmodalAttention(d, heads) for _ in range(others)])
        self.norm_fine = nn.ModuleList([nn.LayerNorm(d) for _ in range(others)])
        self.ffn, self.norm_ffn = mlp(d, 4 * d, d), nn.LayerNorm(d)


class MCIM(nn.Module):
    """One layer of multi-grained crossmodal interaction: Z_1 .. Z_M -> Z_1^h .. Z_M^h, each (B, T_m, d).

    interaction 'self' replaces every crossmodal attention with self-attention (the paper's ablation).
    """

    def __init__(self, modalities: int, d: int, heads: int, dropout: float, interaction: str):
        super().__init__()
        self.interaction, self.dropout = interaction, FrameDropout(dropout)
        self.targets = nn.ModuleList([_Target(d, heads, modalities - 1) for _ in range(modalities)])

    def forward(self, Z: Sequences, observed: list[Tensor] | None = None) -> Sequences:
        """Z_m^h = LN(F_theta(Z_m^f) + Z_m^f) for every modality m. observed: per modality (B, T_m), to mask attention."""
        Z_f = [self.fine(Z, self.coarse(Z, m, observed), m, observed) for m in range(len(Z))]
        return [w.norm_ffn(self.dropout(w.ffn(z)) + z) for w, z in zip(self.targets, Z_f)]

    def coarse(self, Z: Sequences, m: int, observed: list[Tensor] | None = None) -> Float[Tensor, "B T d"]:
        """Eq 8: Z_m^c = LN(CA(Z_{all}, Z_m) + Z_m), Z_{all} the frames of all modalities in one sequence."""
        w = self.targets[m]
        Z_all, frames = self._source(Z, m, range(len(Z)), observed)
        return w.norm_coarse(self.dropout(w.coarse(Z_all, Z[m], frames)) + Z[m])

    def fine(self, Z: Sequences, Z_c: Tensor, m: int, observed: list[Tensor] | None = None) -> Float[Tensor, "B T d"]:
        """Eq 9: Z_m^f = sum over the other modalities j of LN(CA(Z_{mj}, Z_m^c) + Z_m^c)."""
        w, Z_f = self.targets[m], 0
        for CA, norm, j in zip(w.fine, w.norm_fine, (j for j in range(len(Z)) if j != m)):
            Z_mj, frames = self._source(Z, m, (m, j), observed)
            Z_f = Z_f + norm(self.dropout(CA(Z_mj, Z_c, frames)) + Z_c)
        return Z_f

    def _source(self, Z: Sequences, m: int, modalities: Iterable[int], observed: list[Tensor] | None):
        modalities = (m,) if self.interaction == "self" else modalities
        return torch.cat([Z[j] for j in modalities], 1), observed and torch.cat([observed[j] for j in modalities], 1)


class DFIM(nn.Module):
    """Dynamic feature integration: H_a, H_b (B, T, Md) -> the last element of H-bar (B, Md)."""

    def __init__(self, width: int, heads: int, depth: int, dropout: float, integration: str, scaling: str):
        super().__init__()
        self.integration, self.scaling = integration, scaling
        if integration == "dfim":
            self.score = nn.Linear(width, 1, bias=False)  # the softmax would cancel a bias
            self.gate = nn.Conv1d(2 * width, width, 3, padding=1)
        else:
            self.project = nn.Linear(2 * width, width)
        self.encoder = TransformerEncoder(width, heads, depth, dropout)

    def forward(
        self, H_a: Float[Tensor, "B T h"], H_b: Float[Tensor, "B T h"], last: Int[Tensor, "B"]
    ) -> Float[Tensor, "B h"]:
        """A transformer encoder over H_e, of which only the element at step `last` is computed in the last layer."""
        if self.integration == "concatenation":
            H = self.project(torch.cat((H_a, H_b), 2))
        else:
            H = self.select(self.enhance(H_a), self.enhance(H_b))
        return self.encoder(H, last)

    def enhance(self, H: Float[Tensor, "B T h"]) -> Float[Tensor, "B T h"]:
        """Frame-level self-enhancement: H~ = M H, M = softmax over frames of FC(H), times T (scaling 'length')."""
        M = self.score(H).softmax(1)  # (B, T, 1)
        return M * H * (H.shape[1] if self.scaling == "length" else 1)

    def select(self, H_a: Float[Tensor, "B T h"], H_b: Float[Tensor, "B T h"]) -> Float[Tensor, "B T h"]:
        """Selective filtering. Eq 10: mu = sigmoid(W_3 [H~_a; H~_b]). Eq 11: H_e = mu H~_a + (1 - mu) H~_b."""
        mu = self.gate(torch.cat((H_a, H_b), 2).transpose(1, 2)).transpose(1, 2).sigmoid()
        return mu * H_a + (1 - mu) * H_b


class UMDF(System):
    """Temporal convolutions, layers of MCIM and a joint transformer give H; two views share these weights; DFIM gives y.

    Table 3, without L_fea: lambda1=0; L_logits: lambda2=0; MCIM: interaction='self' instead of 'crossmodal'; DFIM:
    integration='concatenation' instead of 'dfim'.
    """

    modalities = "two or more"
    grid = {"lambda2": (0.1, 1.0)}

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        d: int = 40,
        layers: int = 4,
        heads: int = 10,
        depth: int = 2,
        lambda1: float = 0.1,
        lambda2: float = 1.0,
        feature: str = "mmd",
        kernel: str = "rbf",
        estimator: str = "biased",
        f_y: str = "shared",
        interaction: str = "crossmodal",
        integration: str = "dfim",
        scaling: str = "length",
        streams: str = "views",
        masked: bool = False,
        views: str = "missing",
        p_max: float = 0.7,
        dropout: float = 0.1,
        embed_dropout: float = 0.25,
    ):
        super().__init__(dims, task, outputs)
        if len(dims) < 2:
            raise DataError(f"UMDF is defined for two or more modalities, the data have {', '.join(dims)}")
        check_options(
            "UMDF", feature=(feature, ("mmd", "paired")), kernel=(kernel, ("rbf", "linear")),
            estimator=(estimator, ("biased", "unbiased")), f_y=(f_y, ("shared", "separate", "supervised")),
            interaction=(interaction, ("crossmodal", "self")), integration=(integration, ("dfim", "concatenation")),
            scaling=(scaling, ("length", "none")), streams=(streams, ("views", "cloned")),
            views=(views, ("missing", "any", "one", "complete")),
        )  # fmt: skip
        if not 0 <= p_max <= 1:
            raise DataError(f"UMDF: p_max {p_max!r} is outside 0..1")
        self.lambda1, self.lambda2, self.masked, self.p_max = lambda1, lambda2, masked, p_max
        self.random_views, self.different, self.single = views != "complete", views == "missing", views == "one"
        self.cloned, self.supervised = streams == "cloned", f_y == "supervised"
        self.grid = self.grid if lambda2 and views not in ("complete", "one") else {}
        self.distillation = {"kernel": kernel, "estimator": estimator} if feature == "mmd" else None
        width = len(dims) * d
        self.embedding = nn.ModuleList([nn.Conv1d(d_m, d, 3, padding=1) for d_m in dims.values()])
        self.embed_dropout = FrameDropout(embed_dropout)
        self.mcim = nn.ModuleList([MCIM(len(dims), d, heads, dropout, interaction) for _ in range(layers)])
        self.joint = TransformerEncoder(width, heads, depth, dropout)
        self.dfim = DFIM(width, heads, depth, dropout, integration, scaling)
        self.head = nn.Linear(width, outputs)
        self.f_y = nn.Linear(width, outputs) if f_y == "separate" else self.head
        self.register_buffer("patterns", all_patterns(len(dims)), persistent=False)  # (2^M - 1, M)

    def predict(self, batch: Batch) -> Prediction:
        """The clip and its copy as the two streams: H_a = H_b."""
        H, last = self.represent(batch.x, batch.observed)
        H_bar = self.dfim(H, H, last)
        return Prediction(self.head(H_bar), representation=H_bar)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """L_total = L_task + lambda1 L_fea + lambda2 L_logits; the two views pass the network as one batch of 2B rows.

        With a single view L_task of its prediction.
        """
        S_a, S_b = self.views(batch)
        if self.single:
            return {"task": self.task_loss(self.predict(replace(batch, observed=S_a)).logits, batch.target)}
        H, last = self.represent(batch.x, {m: torch.cat((S_a[m], S_b[m])) for m in S_a})
        h_a, h_b = at_step(H, last).chunk(2)
        if self.cloned:
            H_bar, target = self.dfim(H, H, last), torch.cat((batch.target, batch.target))
        else:
            H_bar, target = self.dfim(*H.chunk(2), torch.maximum(*last.chunk(2))), batch.target
        terms = {"task": self.task_loss(self.head(H_bar), target)}
        if self.lambda1:
            terms["feature"] = self.lambda1 * self.feature_distillation(h_a, h_b)
        if self.lambda2:
            terms["logits"] = self.lambda2 * self.logits_distillation(h_a, h_b)
        if self.supervised:
            terms["views"] = sum(self.task_loss(self.f_y(h), batch.target) for h in (h_a, h_b)) / 2
        return terms

    def views(self, batch: Batch) -> tuple[Observed, Observed]:
        """S_a, S_b: the frames that each view keeps, at least one of each modality that it keeps.

        views='missing': the views of a row differ, unless the row has a single modality. 'one': S_b is S_a.
        """
        if not self.random_views:
            return batch.observed, batch.observed
        allowed = within(self.patterns, availability(batch.observed))  # (B, P)
        u = torch.rand(2, *allowed.shape, device=allowed.device).masked_fill(~allowed, -1)
        a, b = u.argmax(2)
        other = u[1].scatter(1, a[:, None], -1).argmax(1)  # the choice of b among the patterns that a has not
        other = torch.where(allowed.sum(1) > 1, other, a)
        frames_a, frames_b = lose_frames(batch.observed, self.p_max), lose_frames(batch.observed, self.p_max)
        view_a, view_b, view_other = (
            {m: f & self.patterns[pattern, i, None] for i, (m, f) in enumerate(frames.items())}
            for frames, pattern in ((frames_a, a), (frames_b, b), (frames_b, other))
        )
        if not self.different:
            return view_a, view_a if self.single else view_b
        equal = torch.stack([(view_a[m] == view_b[m]).all(1) for m in view_a]).all(0)[:, None]
        return view_a, {m: torch.where(equal, view_other[m], view_b[m]) for m in view_b}

    def feature_distillation(self, h_a: Float[Tensor, "B h"], h_b: Float[Tensor, "B h"]) -> Float[Tensor, ""]:
        """Eq 3: L_fea = MMD^2(h_a, h_b); 'paired': the mean squared difference between the two views of each row."""
        return mmd2(h_a, h_b, **self.distillation) if self.distillation else nn.functional.mse_loss(h_a, h_b)

    def logits_distillation(self, h_a: Float[Tensor, "B h"], h_b: Float[Tensor, "B h"]) -> Float[Tensor, ""]:
        """Eq 5, 6: L_logits = JS(f_y(h_a) || f_y(h_b)); for regression their mean squared difference."""
        logits_a, logits_b = self.f_y(h_a), self.f_y(h_b)
        if self.task == "regression":
            return nn.functional.mse_loss(logits_a, logits_b)
        return js(logits_a, logits_b, self.task)

    def represent(self, x: dict[str, Tensor], observed: Observed) -> tuple[Float[Tensor, "B T h"], Int[Tensor, "B"]]:
        """H_k (B, T, Md) of one view, and the index of its last step."""
        Z, sources = self.embed(x, observed), list(observed.values()) if self.masked else None
        for mcim in self.mcim:
            Z = mcim(Z, sources)
        T = next((z.shape[1] for z in Z if z.shape[1] > 1), 1)
        return self.joint(torch.cat([resized(z, T) for z in Z], 2)), _last_step(observed, T)

    def embed(self, x: dict[str, Tensor], observed: Observed) -> Sequences:
        """Z_m (kB, T_m, d): temporal convolution of kernel 3 over X'_m, zero where nothing is observed, plus positions.

        x: per modality (B, T_m, d_m). observed: (kB, T_m), k views of these rows, one after the other.
        """
        Z = []
        for m, conv in zip(self.dims, self.embedding):
            # Each frame passes the three taps once, whatever the number of views; masks and shifts come afterwards.
            taps = nn.functional.linear(x[m], conv.weight.permute(2, 0, 1).flatten(0, 1))  # (B, T_m, 3d)
            taps = taps.repeat(len(observed[m]) // len(taps), 1, 1).masked_fill(~observed[m][..., None], 0)
            before, now, after = taps.chunk(3, 2)
            z = now + pad(before[:, :-1], (0, 0, 1, 0)) + pad(after[:, 1:], (0, 0, 0, 1)) + conv.bias
            Z.append(self.embed_dropout(z + positions(z.shape[1], z.shape[2], z)))
        return Z


def _last_step(observed: Observed, T: int) -> Int[Tensor, "B"]:
    """The last of T steps at which a sequence is observed; T - 1 without any, for a vector (one frame) fills all steps."""
    first = next(iter(observed.values()))
    last = torch.full((len(first),), -1, device=first.device)
    for f in observed.values():
        if f.shape[1] > 1:
            step = torch.arange(1, f.shape[1] + 1, device=f.device)
            end = (f * step).amax(1)  # (B,): number of frames up to the last observed one
            last = torch.maximum(last, (end * T - 1) // f.shape[1])  # -1 where end is 0
    return last % T
