"""MulT and Self-MM beside those of the package MMSA: parameters, the time of a step, and the error on test over five seeds.

Both are trained on the same synthetic clips of six real frames, in the same batches, with Adam and one learning rate, and read
at their best epoch on validation. MMSA's Self-MM reads BERT; a mean of the words stands in for it, as in ours. MulT is
trained without dropout, and with it: ours drops whole channels, MMSA's single numbers.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from mmlib import synthetic
from mmlib.data.dataset import Batch, Dataset
from mmlib.hub import mend_torchvision
from mmlib.models import MODELS
from mmlib.models.base import System
from mmlib.report import paired
from tests.bench.table import Table

FRAMES, D, HEADS, LAYERS, EPOCHS, ROWS, LR, SEEDS = 6, 32, 4, 2, 12, 32, 1e-3, range(5)
OURS = {
    "MulT": ("mult", {"heads": HEADS, "layers": LAYERS, "memory": 3, "kernel": 1, "dropout": 0.0}),
    "MulT, dropout 0.1": ("mult", {"heads": HEADS, "layers": LAYERS, "memory": 3, "kernel": 1, "dropout": 0.1}),
    "Self-MM": ("self_mm", {}),
}


class MeanWord(nn.Module):
    """In place of BERT: the mean word of the clips that `words` holds, (B, 1, d)."""

    words: Tensor

    def forward(self, _: Tensor) -> Tensor:
        return self.words.mean(1, keepdim=True)


class Peer:
    """A network of MMSA that learns by steps and predicts."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=LR)

    def learn(self, batch: Batch, epoch: int) -> None:
        self.optimizer.zero_grad()
        l1_loss(self.predict(batch), batch.target).backward()
        self.optimizer.step()

    def predict(self, batch: Batch) -> Tensor:
        return self.network(*batch.x.values())["M"].squeeze(1)


class SelfMMPeer(Peer):
    """Self-MM with MMSA's own generation of labels, in the order of its training loop; epochs count from 1 there."""

    def __init__(self, network: nn.Module, trainer, data: Dataset):
        super().__init__(network)
        self.trainer, self.first = trainer, int(data.rows("train")[0])
        trainer.init_labels(torch.arange(len(data.rows("train"))), data.target[data.rows("train")])

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        text, audio, vision = batch.x.values()
        lengths = torch.full((len(text),), FRAMES)
        self.network.text_model.words = text
        return self.network(torch.ones(len(text), 3, FRAMES), (audio, lengths), (vision, lengths))

    def predict(self, batch: Batch) -> Tensor:
        return self.outputs(batch)["M"].squeeze(1)

    def learn(self, batch: Batch, epoch: int) -> None:
        outputs, rows, trainer = self.outputs(batch), batch.index - self.first, self.trainer
        names = trainer.name_map.items()
        losses = [trainer.weighted_loss(outputs[m], trainer.label_map[name][rows], rows, name) for m, name in names]
        self.optimizer.zero_grad()
        sum(losses).backward()
        features = [outputs[f"Feature_{letter}"].detach() for letter in "ftav"]
        if epoch > 0:
            trainer.update_labels(*features, epoch + 1, rows, outputs)
        trainer.update_features(*features, rows)
        trainer.update_centers()
        self.optimizer.step()


class Own:
    """One of our systems, with the same methods."""

    def __init__(self, system: System, data: Dataset):
        self.network = system
        system.absolute = True
        system.setup(data.view("train"))
        self.optimizer = torch.optim.Adam(system.parameters(), lr=LR, fused=True)

    def learn(self, batch: Batch, epoch: int) -> None:
        self.network.on_epoch("main", epoch)
        self.optimizer.zero_grad()
        sum(self.network.loss(batch, "main").values()).backward()
        self.optimizer.step()
        self.network.after_step(batch, "main")

    def predict(self, batch: Batch) -> Tensor:
        return self.network.predict(batch).logits.squeeze(1)


def clips() -> Dataset:
    """Synthetic reviews, of which the frames that every clip has are kept."""
    world = synthetic.like("reviews", dim=16, length=2 * FRAMES)
    data = world.sample({"train": 800, "valid": 300, "test": 1000}, seed=0)
    first = {m: (x[:, :FRAMES], data.observed[m][:, :FRAMES]) for m, x in data.features.items()}
    features, observed = ({m: pair[i] for m, pair in first.items()} for i in range(2))
    return replace(data, features=features, observed=observed)


def makers(data: Dataset) -> dict[str, tuple[Callable[[], Own], Callable[[], Peer]]]:
    """System -> ours and MMSA's, new ones at each call. Raises ImportError without MMSA."""
    mend_torchvision()  # MMSA imports transformers, which imports it
    from MMSA.models.singleTask.MULT import MULT
    from MMSA.trains.multiTask.SELF_MM import SELF_MM as Trainer

    networks = import_module("MMSA.models.multiTask.SELF_MM")  # its package has a class of this name
    widths = tuple(data.dims.values())
    mult = dict(
        use_bert=False, feature_dims=widths, dst_feature_dim_nheads=(D, HEADS), nlevels=LAYERS, attn_mask=False,
        attn_dropout=0.0, attn_dropout_a=0.0, attn_dropout_v=0.0, relu_dropout=0.0, embed_dropout=0.0, text_dropout=0.0,
        num_classes=1, train_mode="regression",
        conv1d_kernel_size_l=1, conv1d_kernel_size_a=1, conv1d_kernel_size_v=1,
    )  # fmt: skip
    self_mm = SimpleNamespace(
        need_data_aligned=False, use_finetune=False, transformers="", pretrained="", feature_dims=widths, text_out=widths[0],
        a_lstm_hidden_size=D, v_lstm_hidden_size=D, audio_out=D, video_out=D, a_lstm_layers=1, v_lstm_layers=1,
        a_lstm_dropout=0.0, v_lstm_dropout=0.0, post_fusion_dropout=0.1, post_text_dropout=0.1, post_audio_dropout=0.1,
        post_video_dropout=0.1, post_fusion_dim=D, post_text_dim=D, post_audio_dim=D, post_video_dim=D,
        train_mode="regression", dataset_name="MOSI", train_samples=len(data.rows("train")), device="cpu", excludeZero=True,
        H=float(data.target[data.rows("train")].abs().max()),
    )  # fmt: skip
    networks.BertTextEncoder = lambda **_: MeanWord()

    def own(name: str) -> Callable[[], Own]:
        kind, arguments = OURS[name]
        return lambda: Own(MODELS[kind].for_data(data, d=D, **arguments), data)

    def mult_of(dropout: float) -> Peer:
        return Peer(MULT(SimpleNamespace(**mult, res_dropout=dropout, output_dropout=dropout)))

    peers = {
        "MulT": lambda: mult_of(0.0),
        "MulT, dropout 0.1": lambda: mult_of(0.1),
        "Self-MM": lambda: SelfMMPeer(networks.SELF_MM(self_mm), Trainer(self_mm), data),
    }
    return {name: (own(name), peer) for name, peer in peers.items()}


def _order(seed: int, n: int) -> Iterator[tuple[int, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(n, generator=generator).split(ROWS):
            yield epoch, rows


def error(model: Own | Peer, data: Dataset, seed: int) -> float:
    """Mean absolute error on test at the best epoch on validation."""
    train, whole = (
        data.view("train"),
        {s: data.view(s).batch(torch.arange(len(data.rows(s)))) for s in ("valid", "test")},
    )
    best, found, last = np.inf, np.nan, 0

    def validate() -> None:
        nonlocal best, found
        model.network.eval()
        with torch.no_grad():
            valid, test = (float(l1_loss(model.predict(batch), batch.target)) for batch in whole.values())
        model.network.train()
        best, found = (valid, test) if valid < best else (best, found)

    for epoch, rows in _order(seed, len(train)):
        if epoch > last:
            validate()
            last = epoch
        model.learn(train.batch(rows), epoch)
    validate()
    return found


def step_ms(models: tuple[Own | Peer, ...], data: Dataset) -> list[float]:
    """CPU time of a step of each, taken in turns so that a busy machine slows both; the least of some."""
    batch, times = data.view("train").batch(torch.arange(ROWS)), [[] for _ in models]
    for turn in range(13):
        for model, spent in zip(models, times):
            start = time.process_time()
            model.learn(batch, 2)
            if turn > 2:
                spent.append(1000 * (time.process_time() - start))
    return [min(spent) for spent in times]


def main(table: Table) -> None:
    data = clips()
    try:
        pairs = makers(data)
    except ImportError:
        print("MMSA is not installed (pip install '.[bench]')")
        return
    size = f"{ROWS} clips, {FRAMES} frames, width {D}"
    for name, pair in pairs.items():
        counts = [sum(p.numel() for p in new().network.parameters()) for new in pair]
        table.add(name, size, "parameters", counts[0], "", against="MMSA", ratio=counts[0] / counts[1], wanted="1")
        own, peer = step_ms(tuple(new() for new in pair), data)
        table.add(name, size, "a step", own, "ms", against="MMSA", ratio=own / peer, wanted="<= 1")
        errors = []
        for new in pair:
            found = {}
            for seed in SEEDS:
                torch.manual_seed(seed)
                found[seed] = error(new(), data, seed)
            errors.append(pd.Series(found))
        better = paired(*errors, metric="mae")
        text = f"{EPOCHS} epochs, {len(SEEDS)} seeds, better by {better}"
        ratio = errors[0].mean() / errors[1].mean()
        table.add(name, text, "MAE on test", errors[0].mean(), "", against="MMSA", ratio=ratio)
