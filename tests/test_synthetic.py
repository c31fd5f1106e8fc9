"""Worlds are what their parameters say, and a seed gives the same data in every version."""

import pytest
import torch

from mmlib import synthetic
from mmlib.synthetic import Modality

ROWS = {"train": 8, "valid": 4, "test": 4}


@pytest.mark.parametrize(
    ("name", "size", "target"),
    [
        ("mmimdb", 128.34287, 252),
        ("mosi", 731.60677, 25.69929),
        ("iemocap", 1180.66398, 157),
        ("iemocap_binary", 799.44400, 67),
        ("mintrec", 1046.38140, 1039),
    ],
)
def test_a_seed_gives_the_same_data_in_every_version(name, size, target):
    """The sum of all absolute features, and of the targets times their row number."""
    data = synthetic.like(name, dim=4, length=3).sample(ROWS, 5)
    assert float(sum(x.double().abs().sum() for x in data.features.values())) == pytest.approx(size, rel=1e-6)
    rows = data.target.double().reshape(len(data), -1).sum(1) * torch.arange(len(data))
    assert float(rows.sum()) == pytest.approx(target, rel=1e-6)


def test_aligned_modalities_have_the_same_frames():
    data = synthetic.like("reviews").sample({"train": 300, "valid": 1, "test": 1})
    frames = list(data.observed.values())
    assert torch.equal(frames[0], frames[1]) and torch.equal(frames[0], frames[2])
    assert set(frames[0].sum(1).tolist()) == set(range(6, 13))
    shapes = {m: Modality(2, 12) for m in ("text", "audio")}
    free = synthetic.draw("regression", shapes).sample({"train": 300, "valid": 1, "test": 1})
    assert not torch.equal(free.observed["text"], free.observed["audio"])


def test_clear_latents_have_the_blur_and_the_others_six_times_as_much():
    world = synthetic.draw("regression", {"text": Modality(3, blur=0.5, clear=(1, 3))}, latent=4)
    torch.testing.assert_close(world.B["text"], world.A["text"] * torch.tensor([3.0, 0.5, 3.0, 0.5]).double())


def test_even_weights_differ_in_sign_alone():
    labels = {f"label {i}": 0.5 for i in range(9)}
    w = synthetic.draw("multilabel", {"text": Modality(3)}, prevalence=labels, latent=4, even=True).w
    assert bool((w.abs() == 0.5).all()) and 0 < int((w > 0).sum()) < w.numel()
