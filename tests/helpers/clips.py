"""Nine clips that lack modalities in every way, as a batch and as the slow references take them."""

from dataclasses import replace

import torch

from mmlib import synthetic

SHAPES = {"regression": "mosi", "multiclass": "iemocap", "multilabel": "mmimdb", "multibinary": "iemocap_binary"}
PRESENT = {"text": "110100111", "audio": "101101001", "vision": "100011010"}  # of the nine rows
WIDTHS = {"text": (3, 4), "audio": (5, 1), "vision": (2, 3)}  # width, frames


def flags(text):
    return torch.tensor([c == "1" for c in text])


def batch_of(task, present=PRESENT):
    """The rows in float64, NaN where nothing is observed; the same rows as references take them; the data they are from."""
    modalities = {m: synthetic.Modality(*shape) for m, shape in WIDTHS.items()}
    data = synthetic.like(SHAPES[task], modalities=modalities).sample({"train": 60, "valid": 9, "test": 9}, 0)
    batch = data.view("test").batch(torch.arange(9))
    observed = {m: f & flags(present[m])[:, None] for m, f in batch.observed.items()}
    observed["text"][:, 2] = False  # one frame inside the clip
    x = {m: v.double().masked_fill(~observed[m][..., None], torch.nan) for m, v in batch.x.items()}
    target = batch.target if task == "multiclass" else batch.target.double()
    rows = [{m: (x[m][i], observed[m][i]) for m in WIDTHS} for i in range(9)]
    return replace(batch, x=x, observed=observed, target=target), rows, data
