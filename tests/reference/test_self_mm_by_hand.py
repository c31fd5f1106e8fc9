"""The slow Self-MM reference against numbers worked out by hand."""

import math

import pytest
import torch

from tests.reference import self_mm as reference

DOUBLE = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def layer(w, name, weight, bias=None):
    w[f"{name}.weight"] = weight
    w[f"{name}.bias"] = torch.zeros(len(weight), dtype=DOUBLE) if bias is None else bias


def weights():
    """Text of width 2, audio of width 1 through an LSTM of width 1 that sees the input in its candidate alone."""
    w = {
        "lstm.audio.weight_ih_l0": tensor([0], [0], [1], [0]), "lstm.audio.weight_hh_l0": tensor([0], [0], [0], [0]),
        "lstm.audio.bias_ih_l0": tensor(0, 0, 0, 0), "lstm.audio.bias_hh_l0": tensor(0, 0, 0, 0),
    }  # fmt: skip
    layer(w, "out.audio", tensor([2.0]), tensor(-0.5))
    layer(w, "fusion.1", tensor([1, 0, 0], [0, 1, 10]), tensor(0, 1))
    layer(w, "fusion.2", tensor([1, 1], [0, -1]), tensor(0, 1))
    layer(w, "fusion.3", tensor([3, 100]), tensor(0.25))
    layer(w, "unimodal.text.1", tensor([1, -1]))
    layer(w, "unimodal.text.2", tensor([2]), tensor(1))
    layer(w, "unimodal.text.3", tensor([-1]))
    layer(w, "unimodal.audio.1", tensor([1]))
    layer(w, "unimodal.audio.2", tensor([1]))
    layer(w, "unimodal.audio.3", tensor([1]), tensor(5))
    return {name: value.to(DOUBLE) for name, value in w.items()}


def row(text, audio):
    frames = {"text": tensor([4, 1], [math.nan, math.nan], [2, 2]), "audio": tensor([0.3], [0.8], [math.nan])}
    return {m: (frames[m], torch.tensor(seen).bool()) for m, seen in (("text", text), ("audio", audio))}


def test_heads_by_hand():
    """The text's mean is (3, 1.5); all gates of the LSTM are 1/2, so c = tanh(.3) / 2, then c / 2 + tanh(.8) / 2."""
    c = math.tanh(0.3) / 4 + math.tanh(0.8) / 2
    audio = 2 * math.tanh(c) / 2 - 0.5
    assert audio < 0
    features, outputs = reference.spaces(weights(), row([1, 0, 1], [1, 1, 0]))
    torch.testing.assert_close(features["text"], tensor(1.5))
    torch.testing.assert_close(outputs["text"], tensor(-4.0))
    torch.testing.assert_close(features["audio"], tensor(0.0))
    torch.testing.assert_close(outputs["audio"], tensor(5.0))
    second = 1.5 + 10 * audio + 1
    torch.testing.assert_close(features["joint"], tensor(3, second))
    assert second > 1
    torch.testing.assert_close(outputs["joint"], tensor(3 * (3 + second) + 0.25))


def test_an_absent_modality_by_hand():
    """No text: zeros. No audio: the bias -.5 of its linear map, whatever the LSTM holds."""
    w = weights()
    w["lstm.audio.bias_ih_l0"] = torch.ones(4, dtype=DOUBLE)
    vectors = reference.encode(w, row([0, 0, 0], [0, 0, 0]))
    torch.testing.assert_close(vectors["text"], tensor(0.0, 0.0))
    torch.testing.assert_close(vectors["audio"], tensor(-0.5))
    # (0, 0, -.5): h = relu(0, -4) = (0, 0); then relu(0, 1) = (0, 1), so 100.25.
    torch.testing.assert_close(reference.predict(w, row([0, 0, 0], [0, 0, 0])), tensor(100.25))


def test_loss_by_hand():
    """The second row has no audio. A label that is still the true one costs nothing."""
    predicted = [
        {"joint": tensor(1.0), "text": tensor(0.5), "audio": tensor(2.0)},
        {"joint": tensor(-1.0), "text": tensor(0.0), "audio": tensor(9.0)},
    ]
    labels = [{"text": 2.0, "audio": 1.0}, {"text": -2.0, "audio": 3.0}]
    got = reference.losses_of(predicted, [{"text", "audio"}, {"text"}], [1.5, -2.0], labels)
    assert float(got["task"]) == pytest.approx((0.5 + 1) / 2)
    assert float(got["text"]) == pytest.approx(math.tanh(0.5) * 1.5 / 2)
    assert float(got["audio"]) == pytest.approx(math.tanh(0.5) * 1.0)
    assert list(got) == ["task", "text", "audio"]


def test_new_label_by_hand():
    table = reference.Table([1.0, -3.0], ["text"])
    assert table.made(1.0, 0.5, 2.0) == pytest.approx(0.5 * 0.25 + 0.5 * (1 + 0.5 - 2))
    assert table.made(1.0, 50.0, 2.0) == 3
    assert table.made(-3.0, 8.0, 2.0) == -3  # without the limit -6 + 1.5


def features(joint, text):
    return {"joint": tensor(joint, joint)} | ({} if text is None else {"text": tensor(text)})


def test_labels_over_three_epochs_by_hand():
    """Features are numbers on a line (the joint ones twice the same, so sqrt(width) divides the distance back to it).

    Row 3 has the label 0 and is in no centre; row 2 has no text.
    """
    table = reference.Table([2.0, -1.0, 3.0, 0.0], ["text"])
    table.step(0, {0: features(4.0, 1.0), 1: features(0.0, -1.0)})
    table.step(0, {2: features(2.0, None), 3: features(9.0, 9.0)})
    assert [labels["text"] for labels in table.labels] == [2, -1, 3, 0]
    # Joint centres 3 and 0, text centres 1 and -1. Row 1 comes with joint 1 and text -.5: a_F = (1 - 2) / 2,
    # a_m = (.5 - 1.5) / 1.5; n = 2.
    a_F, a_m = -1 / 2, -1 / 1.5
    new = 0.5 * (a_m / a_F) * -1 + 0.5 * (-1 + a_m - a_F)
    table.step(1, {1: features(1.0, -0.5), 2: features(2.0, None)})
    first = -1 / 3 + 2 / 3 * new
    assert table.labels[1]["text"] == pytest.approx(first) and table.labels[0]["text"] == 2
    assert table.labels[2]["text"] == 3
    # The bank took them after the labels: joint centres 3 and 1, text centres 1 and -.5. Row 3, label 0, with joint 2.5 and
    # text 0: a_F = (1.5 - .5) / .5, a_m = (.5 - 1) / 1; new = (a_m - a_F) / 2.
    table.step(1, {3: features(2.5, 0.0)})
    third = 2 / 3 * 0.5 * (-0.5 - 2)
    assert table.labels[3]["text"] == pytest.approx(third)
    # Now row 3 has a negative label in the space of the text, where it moves the centre to (-.5 + 0) / 2, and none in the
    # joint space. n = 3. Row 0 with joint 3 + 1 and text 1.5.
    a_F, a_m = (3 - 1) / 1, (1.75 - 0.5) / 0.5
    new = 0.5 * (a_m / a_F) * 2 + 0.5 * (2 + a_m - a_F)
    table.step(2, {0: features(4.0, 1.5)})
    assert new < 3
    assert table.labels[0]["text"] == pytest.approx(2 / 4 * 2 + 2 / 4 * new)


def test_no_label_without_both_centres():
    table = reference.Table([2.0, 1.0], ["text"])
    for epoch in range(3):
        table.step(epoch, {0: features(4.0, 1.0), 1: features(0.0, -1.0)})
    assert [labels["text"] for labels in table.labels] == [2, 1]


def test_losses_of_rows_by_hand():
    """A row without anything predicts 100.25 (see above); alone in a batch it leaves the unimodal terms without a mean."""
    w = weights()
    nothing, text = row([0, 0, 0], [0, 0, 0]), row([1, 0, 1], [0, 0, 0])
    got = reference.losses(w, [nothing], [100.0], [{"text": 1.0, "audio": 1.0}])
    assert [float(value) for value in got.values()] == [pytest.approx(0.25), 0, 0]
    got = reference.losses(w, [nothing, text], [2.0, 2.0], [{"text": 1.0, "audio": 7.0}] * 2)
    assert float(got["text"]) == pytest.approx(math.tanh(1) * 5) and float(got["audio"]) == 0
    got = reference.losses_without_ulgm(w, [nothing, text], tensor(2.0, 3.0), "regression")
    assert float(got["text"]) == pytest.approx(49) and float(got["audio"]) == 0
