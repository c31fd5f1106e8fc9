"""A coin answers as often as the training rows do, and keeps its answers; zero fill loses frames where it is asked to."""

import pytest
import torch

from mmlib import synthetic
from mmlib.models.yardsticks.baselines import Coin, Fill, trivial
from mmlib.synthetic import Modality
from mmlib.training.evaluate import evaluate, predict

ROWS = {"train": 4000, "valid": 1, "test": 4000}
VECTOR = {"text": Modality(2)}


def coin(task, seed=0, **options):
    data = synthetic.draw(task, VECTOR, latent=2, **options).sample(ROWS)
    system = Coin.for_data(data, seed=seed)
    system.setup(data.view("train"))
    return system, data


def test_classes_come_as_often_as_in_training():
    shares = {"a": 0.6, "b": 0.3, "c": 0.1}
    system, data = coin("multiclass", prevalence=shares)
    answers = predict(system, data).logits.argmax(1)
    train = data.target[data.rows("train")]
    torch.testing.assert_close(answers.bincount() / 4000, train.bincount() / 4000, atol=0.02, rtol=0)
    scores = evaluate(system, data)
    assert scores["accuracy"] == pytest.approx(0.6**2 + 0.3**2 + 0.1**2, abs=0.02)
    assert scores["ua"] == pytest.approx(1 / 3, abs=0.02)


def test_weighted_f1_pays_a_coin_as_the_closed_form_says():
    """p 2pq / (p + q) + (1 - p) 2(1 - p)(1 - q) / (2 - p - q), p the share of true rows and q of answers: p = q here."""
    system, data = coin("multibinary", prevalence={"half": 0.5, "few": 0.2})
    scores = evaluate(system, data)
    for name, p in (("f1_0", 0.5), ("f1_1", 0.2)):
        assert scores[name] == pytest.approx(p * p + (1 - p) ** 2, abs=0.02)


def test_values_come_as_often_as_in_training():
    system, data = coin("regression", scale=2.0)
    values = predict(system, data).logits.squeeze(1)
    train = data.target[data.rows("train")]
    at = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(values.quantile(at), train.quantile(at), atol=0.15, rtol=0)
    assert set(values.tolist()) <= set(train.tolist())
    scores = evaluate(system, data)
    assert scores["f1_non0"] == pytest.approx(0.5, abs=0.025) and abs(scores["corr"]) < 0.04


def test_a_row_keeps_its_answer_and_another_seed_answers_otherwise():
    system, data = coin("multilabel", prevalence={"a": 0.5, "b": 0.5})
    answers = predict(system, data).logits
    assert torch.equal(answers, predict(system, data, "available(text)", batch_size=7).logits)
    other, _ = coin("multilabel", seed=1, prevalence={"a": 0.5, "b": 0.5})
    same = (answers > 0) == (predict(other, data).logits > 0)
    assert float(same.float().mean()) == pytest.approx(0.5, abs=0.03)


def test_zero_fill_loses_frames_in_training_alone_and_keeps_one():
    modalities = {"text": Modality(4, 9), "audio": Modality(3, 9)}
    data = synthetic.draw("regression", modalities, latent=2).sample({"train": 400, "valid": 1, "test": 1}, 0)
    batch = data.view("train").batch(torch.arange(400))
    system = Fill.for_data(data, dropout=True, p_max=0.7)
    seen = []
    fuse = system._fuse
    system._fuse = lambda batch, present: seen.append(batch.observed) or fuse(batch, present)
    system.loss(batch, "main")
    system.predict(batch)
    trained, predicted = seen
    for m, real in batch.observed.items():
        share = trained[m].sum(1) / real.sum(1)
        assert bool((trained[m] <= real).all()) and bool(trained[m].any(1).all()) and torch.equal(predicted[m], real)
        # p is 0, .1, .., or .7 with equal probability, 0.35 on average; of short clips the frame that stays is a larger share.
        assert float(share[real.sum(1) > 6].mean()) == pytest.approx(0.65, abs=0.05)


def test_the_row_that_loses_frames_is_there_where_there_are_frames_to_lose():
    clips = synthetic.draw("regression", {"text": Modality(2, 5)}, latent=2).sample({"train": 4, "valid": 1, "test": 1})
    name = "zero fill + modality and frame dropout"
    assert name in trivial(clips, 0.7) and name not in trivial(clips) and name not in trivial(clips.pooled(), 0.7)
    assert trivial(clips, 0.7)[name](seed=0).p_max == 0.7
