"""Figures say what their data says, nothing overlaps, and no setting of matplotlib changes."""

import re
from colorsys import rgb_to_hsv

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from mmlib import show
from mmlib.show import maps, patterns, theme
from tests.helpers.figures import assert_texts_are_apart


def legend(holder):
    box = holder.legends[0] if hasattr(holder, "legends") else holder.get_legend()
    return [text.get_text() for text in box.get_texts()]


# Who misses what


FRAMES = {
    "image": torch.tensor([True, True, True, False, True])[:, None],
    "audio": torch.tensor([[True, False, False]] * 2 + [[False] * 3] + [[True] * 3] * 2),
}


def test_missingness_colours_observed_cells_alone():
    figure = show.missingness(FRAMES, rows=4, title="a title")
    panel = figure.axes[0]
    assert len(panel.images) == 2
    for k, (image, frames) in enumerate(zip(panel.images, FRAMES.values(), strict=True)):
        pixels = np.asarray(image.get_array())
        height = len(pixels) // 4
        for row in range(4):
            for column in range(frames.shape[1]):
                expected = theme.PALETTE[k] if frames[row, column] else patterns.MISSING
                cell = pixels[row * height : (row + 1) * height, column]
                np.testing.assert_allclose(cell, np.broadcast_to(expected, cell.shape), atol=1e-6)
    assert panel.get_ylabel() == "sample (first 4 of 5)"
    assert [t.get_text() for t in panel.get_xticklabels()] == ["image", "audio\n3 frames"]
    assert "padding" in panel.get_title() and figure.get_suptitle() == "a title"


def test_missingness_shares_of_patterns():
    bars = show.missingness(FRAMES).axes[1]
    assert [t.get_text() for t in bars.get_yticklabels()] == ["image + audio", "image only", "audio only"]
    assert [t.get_text() for t in bars.texts] == ["60.0 %", "20.0 %", "20.0 %"]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([60, 20, 20])
    assert bars.get_xlabel() == "share of samples (%)"


def test_missingness_names_samples_with_nothing_and_sums_up_rare_patterns():
    figure = show.missingness({"image": torch.tensor([[True], [False]])})
    assert {t.get_text() for t in figure.axes[1].get_yticklabels()} == {"image only", "nothing"}
    assert "padding" not in figure.axes[0].get_title()
    bits = torch.arange(16)[:, None] >> torch.arange(4) & 1 == 1
    bars = show.missingness({m: bits[:, k, None] for k, m in enumerate("abcd")}).axes[1]
    assert len(bars.patches) == 8 and bars.get_yticklabels()[-1].get_text() == "9 other sets"
    assert sum(bar.get_width() for bar in bars.patches) == pytest.approx(100)


@pytest.mark.parametrize(
    "frames",
    [{}, {"image": torch.ones(0, 1, dtype=torch.bool)}, {"a": FRAMES["image"], "b": FRAMES["image"][:3]}],
    ids=["no modality", "no sample", "unequal"],
)
def test_missingness_refuses(frames):
    with pytest.raises(ValueError, match="needs the same samples, at least one"):
        show.missingness(frames)


REAL = {"image": FRAMES["image"] | torch.arange(5)[:, None].eq(3), "audio": torch.tensor([[True, True, False]] * 5)}


def test_missingness_tells_lost_frames_from_padding():
    frames = {m: f & REAL[m] for m, f in FRAMES.items()}
    panel = show.missingness(frames, real=REAL).axes[0]
    for k, (image, m) in enumerate(zip(panel.images, frames, strict=True)):
        pixels = np.asarray(image.get_array())
        height, width = len(pixels) // 5, pixels.shape[1] // frames[m].shape[1]
        for row, column in np.ndindex(*frames[m].shape):
            expected = (
                theme.PALETTE[k] if frames[m][row, column] else patterns.LOST if REAL[m][row, column] else (1, 1, 1)
            )
            cell = pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
            np.testing.assert_allclose(cell[:-1], np.broadcast_to(expected, cell[:-1].shape), atol=1e-6)
            assert (cell[-1] == 1).all()  # the line below
    assert panel.get_title() == "coloured: observed, grey: lost, white: padding"
    vector = {"image": FRAMES["image"]}
    assert show.missingness(vector, real=vector).axes[0].get_title().endswith("white: never there")


@pytest.mark.parametrize(
    "real, message",
    [
        ({"image": REAL["image"]}, "but real is {'image': "),
        (
            {"image": REAL["image"], "audio": REAL["audio"][:, :2]},
            r"'audio': \(5, 3\)} but real is .*'audio': \(5, 2\)",
        ),
        (REAL, "'audio' is observed in frames that are not real"),
    ],
    ids=["modality lacks", "other length", "observed but not real"],
)
def test_missingness_refuses_what_is_not_real(real, message):
    with pytest.raises(ValueError, match=message):
        show.missingness(FRAMES, real=real)


def test_missingness_counts_whole_samples():
    FigureCanvasAgg(figure := show.missingness({"image": torch.ones(20, 1, dtype=torch.bool)})).draw()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["0", "5", "10", "15", "20"]


# Training curves


def history(stages=None, scale=1.0):
    rows = []
    for stage, epochs in (stages or {"pretrain": 3, "joint": 4}).items():
        for e in range(epochs):
            rows += [(stage, e, "train", "task", 2.0 - 0.1 * e), (stage, e, "train", stage, scale * (1.0 + e))]
            rows.append((stage, e, "valid", "micro F1", 0.5 + 0.1 * (e == 2) + 0.01 * (stage == "joint")))
    return pd.DataFrame(rows, columns=["stage", "epoch", "split", "name", "value"])


def test_losses_run_on_over_stages():
    figure = show.losses(history())
    left, right = figure.axes
    assert legend(left) == ["task", "pretrain", "joint"]
    assert [list(line.get_xdata()) for line in left.lines[:2]] == [[1, 2, 3], [4, 5, 6, 7]]
    assert left.lines[0].get_color() == left.lines[1].get_color() != left.lines[2].get_color()
    assert [line.get_xdata()[0] for line in left.lines if len(set(line.get_xdata())) == 1] == [3.5]
    assert [t.get_text() for t in left.texts] == ["pretrain", "joint"]
    assert (left.get_xlabel(), left.get_ylabel()) == ("epoch", "loss term")
    assert (right.get_xlabel(), right.get_ylabel()) == ("epoch", "score")


def test_losses_mark_the_best_epoch():
    right = show.losses(history()).axes[1]
    star = next(line for line in right.lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (6, pytest.approx(0.61))
    assert legend(right) == ["micro F1", "best micro F1: 0.610 in epoch 6"]
    right = show.losses(history().replace("micro F1", "mae")).axes[1]
    assert legend(right) == ["mae", "best mae: 0.500 in epoch 1"]  # an error: lower is better


def test_losses_do_not_depend_on_how_rows_are_labelled_or_epochs_counted():
    first = show.losses(history())
    shifted = history().assign(epoch=lambda rows: rows["epoch"] + 1)
    shifted.index = [0] * len(shifted)
    second = show.losses(shifted)
    for a, b in zip(first.axes, second.axes, strict=True):
        assert [list(line.get_xdata()) for line in a.lines] == [list(line.get_xdata()) for line in b.lines]


def test_losses_use_a_logarithm_for_a_wide_range_only():
    assert show.losses(history()).axes[0].get_yscale() == "linear"
    assert show.losses(history(scale=0.01)).axes[0].get_yscale() == "log"
    assert show.losses(history(scale=-0.01)).axes[0].get_yscale() == "linear"
    with_zero = history(scale=0.01).assign(value=lambda rows: rows["value"].where(rows["epoch"] > 0, 0))
    logarithm = show.losses(with_zero).axes[0].yaxis.get_transform()
    assert not np.isfinite(logarithm.transform(np.zeros(1))).any()  # a gap, no plunge


def test_losses_of_one_stage_one_epoch_or_without_validation():
    figure = show.losses(history({"main": 1}))
    assert not figure.axes[0].texts and figure.axes[0].lines[0].get_marker() == "."
    assert len(show.losses(history().query("split == 'train'")).axes) == 1


def test_losses_refuse():
    with pytest.raises(ValueError, match="no column 'stage'"):
        show.losses(history().drop(columns="stage"))
    with pytest.raises(ValueError, match="no rows"):
        show.losses(history()[:0])
    with pytest.raises(ValueError, match="split 'test'"):
        show.losses(history().assign(split="test"))


# Maps of embeddings, drawn straight from what is mapped


def embeddings(real, imputed, title="", **options):
    return show.embeddings(show.embedding_points(real, imputed, **options), title)


def generations(real, generated, title="", **options):
    return show.generations(show.generation_points(real, generated, **options), title)


def representations(clouds, value, title="", **options):
    return show.representations(show.representation_points(clouds, value, **options), title)


# Embeddings


def cloud(n, width, seed, shift=0.0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) + shift


def accuracies(figure):
    return [float(re.search(r"accuracy (\d\.\d+)", panel.get_xlabel())[1]) for panel in figure.axes]


def test_embeddings_number_of_like_and_of_separate_clouds():
    real = {"image": cloud(80, 8, 0), "text": cloud(80, 6, 1)}
    imputed = {"image": cloud(60, 8, 2), "text": cloud(40, 6, 3, shift=20)}
    figure = embeddings(real, imputed, title="a title")
    assert accuracies(figure) == [pytest.approx(0.5, abs=0.12), 1.0]
    assert [panel.get_title() for panel in figure.axes] == ["image", "text"]
    assert [legend(panel) for panel in figure.axes] == [
        ["real (80)", "imputed (60)"],
        ["real (80)", "imputed (40)"],
    ]
    for panel, colour in zip(figure.axes, maps.IMPUTED.values(), strict=True):
        shown = [points.get_facecolor()[0, :3].tolist() for points in panel.collections]
        assert shown == [pytest.approx(maps.REAL), pytest.approx(colour)]
        assert panel.get_ylabel() == "t-SNE 2"


@pytest.mark.parametrize("width", [4, 200])
def test_embeddings_of_the_same_rows_twice_cannot_be_told_apart(width):
    rows = {"image": cloud(40, width, 0)}
    assert accuracies(embeddings(rows, rows)) == [0.5]


def test_embeddings_are_the_same_for_the_same_seed_and_within_the_limit():
    real, imputed = {"audio": cloud(50, 8, 0)}, {"audio": cloud(30, 8, 1)}

    def at(seed):
        points = embeddings(real, imputed, seed=seed, limit=25).axes[0].collections
        assert [len(p.get_offsets()) for p in points] == [25, 25]
        return np.concatenate([p.get_offsets() for p in points])

    np.testing.assert_array_equal(at(0), at(0))
    assert not np.array_equal(at(0), at(1))


def test_embeddings_of_few_rows_and_of_four_modalities():
    names = ["text", "audio", "vision", "depth"]
    figure = embeddings({m: cloud(5, 3, 0) for m in names}, {m: cloud(5, 3, 1) for m in names})
    assert [panel.get_title() for panel in figure.axes] == names


@pytest.mark.parametrize(
    "real, imputed, message",
    [
        ({}, {}, r"modalities \[\]"),
        ({"image": cloud(9, 4, 0)}, {"text": cloud(9, 4, 0)}, r"real has modalities \['image'\] but imputed"),
        ({"image": cloud(9, 4, 0)}, {"image": cloud(9, 5, 0)}, r"'image' is \(9, 4\) real and \(9, 5\) imputed"),
        ({"image": cloud(9, 4, 0)}, {"image": cloud(4, 4, 0)}, "at least 5 rows"),
        ({"image": cloud(9, 1, 0)}, {"image": cloud(9, 1, 0)}, "width of at least 2"),
    ],
    ids=["empty", "other modalities", "other width", "few rows", "narrow"],
)
def test_embeddings_refuse(real, imputed, message):
    with pytest.raises(ValueError, match=message):
        embeddings(real, imputed)


# Generated tokens


def tokens(n, seed, names=("text", "vision"), width=4):
    return {m: cloud(n, width, seed + k) for k, m in enumerate(names)}


@pytest.fixture
def map_of_two_columns(monkeypatch):
    """The map shows the first two columns as they are; the list gets what is mapped."""
    mapped = []
    monkeypatch.setattr(maps, "_tsne", lambda x, seed: mapped.append(x) or x[:, :2])
    return mapped


def test_generations_numbers_of_like_and_of_separate_tokens():
    real, like, apart = tokens(80, 0, width=8), tokens(80, 2, width=8), tokens(60, 4, width=8)
    apart["vision"] += 20
    figure = generations(real, {"n = 50": like, "n = 100": apart}, title="a title")
    form = r"t-SNE 1\n\nreal vs generated: accuracy\ntext (.{4}), vision (.{4})\n\(0.50 = indistinguishable\)"
    text, vision = np.array([re.fullmatch(form, p.get_xlabel().replace("\xa0", " ")).groups() for p in figure.axes]).T
    assert [float(a) for a in (*text, vision[0])] == [pytest.approx(0.5, abs=0.15)] * 3 and vision[1] == "1.00"
    assert [(panel.get_title(), panel.get_ylabel()) for panel in figure.axes] == [
        ("n = 50", "t-SNE 2"),
        ("n = 100", "t-SNE 2"),
    ]
    assert legend(figure) == [
        "text, real (80)",
        "text, generated (60–80)",
        "vision, real (80)",
        "vision, generated (60–80)",
    ]
    assert figure.get_suptitle() == "a title" and all(panel.get_legend() is None for panel in figure.axes)


def test_generations_of_the_real_tokens_cannot_be_told_apart():
    real = tokens(40, 0, width=200)
    assert generations(real, {"n = 1": real}).axes[0].get_xlabel().count("0.50") == 3


def test_generations_have_one_map_in_all_panels(map_of_two_columns):
    real, generated = tokens(9, 0), {f"n = {k}": tokens(7, 10 * k) for k in (1, 2, 3)}
    for x in generated["n = 2"].values():
        x += 50
    figure = generations(real, generated)
    assert [x.shape for x in map_of_two_columns] == [(2 * (9 + 3 * 7), 4)]
    assert len({(panel.get_xlim(), panel.get_ylim()) for panel in figure.axes}) == 1
    assert figure.axes[0].get_xlim()[1] > 48  # where the points of another panel are
    for panel, made in zip(figure.axes, generated.values(), strict=True):
        assert len(panel.collections) == 4
        for k, m in enumerate(real):
            for points, x in zip(panel.collections[2 * k : 2 * k + 2], (real[m], made[m]), strict=True):
                np.testing.assert_array_equal(np.sort(points.get_offsets(), 0), np.sort(x[:, :2], 0))


def test_generations_are_the_same_samples_within_the_limit(map_of_two_columns):
    real = tokens(50, 0)

    def drawn(seed):
        figure = generations(real, {"n = 1": {m: x + 100 for m, x in real.items()}}, seed=seed, limit=20)
        assert legend(figure)[:2] == ["text, real (20)", "text, generated (20)"]
        real_text, generated_text, *_ = (points.get_offsets() for points in figure.axes[0].collections)
        np.testing.assert_allclose(generated_text, real_text + 100, atol=1e-4)
        return real_text

    np.testing.assert_array_equal(drawn(0), drawn(0))
    assert not np.array_equal(drawn(0), drawn(1))


def test_generations_are_strong_and_real_tokens_pale_of_the_same_hue():
    names = ["text", "audio", "vision", "depth", "pulse"]
    panel = generations(tokens(6, 0, names), {"n = 1": tokens(6, 1, names)}).axes[0]
    colours = [points.get_facecolor()[0, :3] for points in panel.collections]
    for pale, strong in zip(colours[::2], colours[1::2], strict=True):
        (hue, weak, _), (same, full, _) = rgb_to_hsv(*pale), rgb_to_hsv(*strong)
        assert hue == pytest.approx(same, abs=0.01) and weak < full / 2
        assert (pale - strong) @ [0.2126, 0.7152, 0.0722] > 0.15
    for colour, strongest in zip(colours[1:6:2], ([2], [1], [0, 1]), strict=True):  # blue, green, yellow
        assert colour[strongest].min() > 1.3 * np.delete(colour, strongest).max()
    assert len({tuple(colour) for colour in colours}) == 10
    assert len({points.get_paths()[0].vertices.tobytes() for points in panel.collections}) == 5
    real, generated = panel.collections[::2], panel.collections[1::2]
    assert max(p.get_zorder() for p in real) < min(p.get_zorder() for p in generated)
    assert min(p.get_sizes()[0] for p in real) > 2 * max(p.get_sizes()[0] for p in generated)  # not hidden below them


@pytest.mark.parametrize("count, lines", [(3, 1), (4, 2), (5, 2)])
def test_generations_legend_is_below_all_panels(count, lines, map_of_two_columns):
    names = ["text", "audio", "vision"]
    figure = generations(tokens(6, 0, names), {f"n = {k}": tokens(6, k, names) for k in range(count)})
    (canvas := FigureCanvasAgg(figure)).draw()
    top = figure.legends[0].get_window_extent(canvas.get_renderer()).y1
    assert all(top < panel.get_tightbbox(canvas.get_renderer()).y0 for panel in figure.axes)
    columns = len({round(panel.get_position().x0, 2) for panel in figure.axes})
    assert (columns, len({round(p.get_position().y0, 2) for p in figure.axes})) == (2 if count == 4 else 3, lines)


WIDTHS = {"text": cloud(9, 4, 0), "vision": cloud(9, 5, 0)}


@pytest.mark.parametrize(
    "real, generated, message",
    [
        (tokens(9, 0), {}, "nothing is generated"),
        ({}, {"n = 1": {}}, r"modalities \[\]"),
        (
            tokens(9, 0),
            {"n = 1": tokens(9, 0), "n = 2": tokens(9, 0, ["text"])},
            r"real has modalities \['text', 'vision'\] but generated \(n = 2\) has \['text'\]",
        ),
        (tokens(9, 0), {"n = 1": tokens(9, 0, width=5)}, r"'text' is \(9, 4\) real and \(9, 5\) generated \(n = 1\)"),
        (WIDTHS, {"n = 1": WIDTHS}, r"one width, .* {'text': 4, 'vision': 5}"),
        (tokens(9, 0), {"n = 1": tokens(4, 0)}, "at least 5 rows"),
        (tokens(9, 0, width=1), {"n = 1": tokens(9, 0, width=1)}, "width of at least 2"),
    ],
    ids=["no panel", "empty", "other modalities", "other width", "widths differ", "few rows", "narrow"],
)
def test_generations_refuse(real, generated, message):
    with pytest.raises(ValueError, match=f"show.generation_points: .*{message}"):
        generations(real, generated)


# Joint representations


SIGNS = torch.tensor([-1.0, 0.0, 2.0]).repeat(20)  # negative, neutral, positive


def places(panel):
    return np.concatenate([points.get_offsets() for points in panel.collections])


def test_representations_number_of_like_and_of_separate_groups():
    clouds = {"blind": cloud(60, 8, 0), "UMDF": cloud(60, 6, 1) + 10 * SIGNS[:, None] * (SIGNS[:, None] != 0)}
    figure = representations(clouds, SIGNS, title="a title")
    assert accuracies(figure) == [pytest.approx(0.5, abs=0.2), 1.0]
    for panel, name in zip(figure.axes, clouds, strict=True):
        assert panel.get_title() == name and panel.get_ylabel() == "t-SNE 2" and panel.get_legend() is None
        assert re.search(r"negative vs positive:\naccuracy .* \(0.50 = chance\)$", panel.get_xlabel())
        assert len(places(panel)) == 60
    assert legend(figure) == ["negative (20)", "neutral (20)", "positive (20)"]
    assert figure.get_suptitle() == "a title"


def test_representations_leave_neutral_samples_out_of_the_number():
    clouds = {
        "UMDF": torch.where(SIGNS[:, None] == 0, 100 * cloud(60, 4, 0), cloud(60, 4, 1, shift=10) * SIGNS[:, None])
    }
    assert accuracies(representations(clouds, SIGNS)) == [1.0]
    moved = representations(clouds, SIGNS, neutral=-1.0)  # what was negative is neutral, what was neutral positive
    assert legend(moved) == ["neutral (20)", "positive (40)"]
    assert moved.axes[0].get_xlabel().endswith("no accuracy: fewer than\ntwo groups of 5 samples")


def test_representations_of_sentiments_differ_in_marker_and_lightness():
    points = representations({"UMDF": cloud(60, 4, 0)}, SIGNS).axes[0].collections
    assert len({p.get_paths()[0].vertices.tobytes() for p in points}) == 3
    lightness = sorted(p.get_facecolor()[0, :3] @ [0.2126, 0.7152, 0.0722] for p in points)
    assert np.diff(lightness).min() > 0.1


def test_representations_show_the_same_samples_in_each_panel():
    clouds = {"a": cloud(60, 8, 0), "b": cloud(60, 8, 0), "c": cloud(60, 8, 1)}

    def drawn(seed):
        figure = representations(clouds, SIGNS, seed=seed, limit=30)
        shown = [places(panel) for panel in figure.axes]
        assert {len(place) for place in shown} == {30}
        assert len({tuple(len(p.get_offsets()) for p in panel.collections) for panel in figure.axes}) == 1
        np.testing.assert_array_equal(shown[0], shown[1])
        return shown[0]

    np.testing.assert_array_equal(drawn(0), drawn(0))
    assert not np.array_equal(drawn(0), drawn(1))


def test_representations_of_classes():
    number = torch.tensor([0, 2, 3] * 10 + [1] * 4)
    clouds = {"UMDF": cloud(34, 4, 0) + 20 * torch.eye(4)[number]}
    figure = representations(clouds, number, names=["happy", "sad", "neutral", "angry"])
    assert legend(figure) == ["happy (10)", "sad (4)", "neutral (10)", "angry (10)"]
    # Four sad samples are too few for five folds; a class that is called neutral is one like the others.
    assert figure.axes[0].get_xlabel().endswith("3 of 4 classes:\naccuracy 1.00 (0.33 = chance)")
    points = figure.axes[0].collections
    assert len({tuple(p.get_facecolor()[0]) for p in points}) == 4
    assert len({p.get_paths()[0].vertices.tobytes() for p in points}) == 4
    two = representations({"UMDF": clouds["UMDF"][:30]}, number[:30].clamp(max=2))
    assert legend(two) == ["class 0 (10)", "class 2 (20)"]
    assert two.axes[0].get_xlabel().endswith("class 0 vs class 2:\naccuracy 1.00 (0.50 = chance)")


def test_representations_that_are_all_the_same_are_one_dot():
    rounding = 1e-8 * cloud(60, 4, 0)
    figure = representations({"zero": torch.zeros(60, 4), "collapsed": 0.1 + rounding}, SIGNS)
    assert accuracies(figure) == [0.5, 0.5]
    for panel in figure.axes:
        assert not places(panel).any() and [t.get_text() for t in panel.texts] == ["all the same"]
    assert not representations({"UMDF": rounding}, SIGNS).axes[0].texts  # small, yet not the same


def test_representations_of_few_samples_and_of_four_methods():
    names = ["UMDF", "MissModal", "CorrKD", "late fusion"]
    figure = representations({m: cloud(5, 3, k) for k, m in enumerate(names)}, SIGNS[:5])
    assert [panel.get_title() for panel in figure.axes] == names
    assert len({panel.get_position().y0 for panel in figure.axes}) == 2  # three on a line


NAN = cloud(9, 4, 0).index_fill(0, torch.tensor([3]), float("nan"))


@pytest.mark.parametrize(
    "clouds, value, options, message",
    [
        ({}, SIGNS, {}, r"clouds are \{\}"),
        ({"a": cloud(9, 4, 0), "b": cloud(8, 4, 0)}, SIGNS[:9], {}, r"one value a sample .* 'b': \(8, 4\)"),
        ({"a": cloud(9, 4, 0)}, SIGNS[:8], {}, r"one value a sample .* value is \(8,\)"),
        ({"a": cloud(9, 1, 0)}, SIGNS[:9], {}, "width of at least 2"),
        ({"a": cloud(4, 4, 0)}, SIGNS[:4], {}, "4 samples, limit 600; needs at least 5"),
        ({"a": cloud(9, 4, 0)}, SIGNS[:9], {"limit": 4}, "9 samples, limit 4; needs at least 5"),
        ({"a": cloud(9, 4, 0), "b": NAN}, SIGNS[:9], {}, "'b' is NaN or infinite"),
        ({"a": cloud(9, 4, 0)}, NAN[:, 0], {}, "'value' is NaN or infinite"),
        ({"a": cloud(9, 4, 0)}, SIGNS[:9], {"names": ["sad"]}, "are for class numbers, not torch.float32"),
        ({"a": cloud(9, 4, 0)}, torch.arange(9), {"names": ["sad"]}, "class numbers from 0 to 8, with 1 names"),
        ({"a": cloud(9, 4, 0)}, torch.arange(9) - 1, {}, "class numbers from -1 to 7"),
    ],
    ids="empty,unequal,other values,narrow,few,low limit,nan,nan value,named floats,unnamed,negative".split(","),
)
def test_representations_refuse(clouds, value, options, message):
    with pytest.raises(ValueError, match=message):
        representations(clouds, value, **options)


# Scores against missingness


def runs(conditions, methods, seeds=3):
    rows = [
        (c, m, 0.9 - 0.1 * i - 0.01 * j + 0.01 * s)
        for j, m in enumerate(methods)
        for i, c in enumerate(conditions)
        for s in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["missing_rate", "method", "macro_f1"])


def test_degradation_draws_means_and_deviations_over_numbers():
    table = runs([0.5, 0.0], ["A", "oracle", "B"])
    figure = show.degradation(table, "missing_rate", "macro_f1", "method", {"majority": 0.25}, "oracle")
    panel = figure.axes[0]
    a, b, oracle, floor = panel.lines
    np.testing.assert_allclose(a.get_xydata(), [[0.0, 0.81], [0.5, 0.91]])
    np.testing.assert_allclose(b.get_xydata(), [[0.0, 0.79], [0.5, 0.89]])
    band = panel.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.80) and band[:, 1].max() == pytest.approx(0.92)
    assert (oracle.get_color(), oracle.get_linestyle()) == ("black", "--") and oracle.get_ydata()[1] == pytest.approx(
        0.9
    )
    assert list(floor.get_ydata()) == [0.25, 0.25]
    assert legend(figure) == ["A", "B", "oracle", "majority: 0.250"]
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("missing rate", "macro f1\n(mean ± std)")


def test_degradation_draws_names_as_points_side_by_side():
    names = ["100_image_20_text", "20_image_100_text", "complex_20_40_40"]
    table = runs(names, ["A", "B", "oracle"])
    table = table[(table["method"] != "B") | (table["missing_rate"] != names[1])]
    panel = show.degradation(table, "missing_rate", "macro_f1", "method", ceiling="oracle").axes[0]
    a, b, oracle = panel.lines
    np.testing.assert_allclose(a.get_ydata(), [0.91, 0.81, 0.71])
    np.testing.assert_allclose(b.get_xdata() - a.get_xdata()[[0, 2]], 0.16)
    assert np.isnan(oracle.get_xdata()).sum() == 3  # one bar for each category
    assert [t.get_text() for t in panel.get_xticklabels()] == names
    bars = panel.collections[0].get_segments()
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0.90, 0.92], [0.80, 0.82], [0.70, 0.72]])


def test_degradation_of_single_runs_claims_no_deviation():
    panel = show.degradation(runs([0.0, 0.5], ["A"], seeds=1), "missing_rate", "macro_f1", "method").axes[0]
    assert panel.get_ylabel() == "macro f1"


def test_degradation_tells_twenty_methods_apart():
    panel = show.degradation(runs([0, 1], [f"m{k}" for k in range(20)]), "missing_rate", "macro_f1", "method").axes[0]
    assert len({(to_rgb(line.get_color()), line.get_marker()) for line in panel.lines}) == 20


def test_degradation_of_several_scores_gives_a_panel_each_and_one_legend():
    table = runs([0.0, 0.5], ["A", "oracle", "B"]).assign(mae=lambda rows: 2 - rows["macro_f1"].round(1))
    scores, options = ["mae", "macro_f1"], {"floor": {"majority": [1.5, 0.25]}, "ceiling": "oracle"}
    figure = show.degradation(table, "missing_rate", scores, "method", **options)
    assert [panel.get_ylabel() for panel in figure.axes] == ["mae", "macro f1\n(mean ± std)"]
    assert [panel.get_xlabel() for panel in figure.axes] == ["missing rate"] * 2
    np.testing.assert_allclose([panel.lines[0].get_ydata() for panel in figure.axes], [[1.1, 1.2], [0.91, 0.81]])
    assert [panel.lines[3].get_ydata()[0] for panel in figure.axes] == [1.5, 0.25]
    assert legend(figure) == ["A", "B", "oracle", "majority: 1.500, 0.250"] and len(figure.legends) == 1
    for one in zip(*(panel.lines for panel in figure.axes), strict=True):
        assert len({(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in one}) == 1


def test_degradation_refuses():
    table = runs([0.0], ["A"])
    with pytest.raises(ValueError, match="floor 'majority' needs a score for each of"):
        show.degradation(table, "missing_rate", ["macro_f1", "macro_f1"], "method", {"majority": 0.25})
    with pytest.raises(ValueError, match="no column 'mae'; it has"):
        show.degradation(table, "missing_rate", ["macro_f1", "mae"], "method")
    with pytest.raises(ValueError, match="no column 'rate'; it has"):
        show.degradation(table, "rate", "macro_f1", "method")
    with pytest.raises(ValueError, match="no rows"):
        show.degradation(table[:0], "missing_rate", "macro_f1", "method")
    with pytest.raises(ValueError, match="no method 'oracle' in column 'method'"):
        show.degradation(table, "missing_rate", "macro_f1", "method", ceiling="oracle")


# What each modality is worth


def worths(methods, seeds=2):
    index = pd.MultiIndex.from_product([methods, range(seeds)], names=["method", "seed"])
    values = np.arange(3.0) + index.codes[0][:, None] + 0.2 * index.codes[1][:, None]
    return pd.DataFrame(values, index, ["text", "audio", "total"])


def test_worth_draws_a_bar_per_method_and_modality_and_the_oracle_across():
    values = worths(["A", "B", "oracle"])
    values.loc["B", "audio"] = np.nan
    figure = show.worth(values, "points of UA", "oracle")
    panel = figure.axes[0]
    a, b = panel.containers
    np.testing.assert_allclose([bar.get_height() for bar in a], [0.1, 1.1, 2.1])
    np.testing.assert_allclose([bar.get_height() for bar in b], [1.1, np.nan, 3.1])
    np.testing.assert_allclose([bar.get_x() for bar in b], [0.0, 1.0, 2.0], atol=1e-9)
    *deviations, oracle = (lines.get_segments() for lines in panel.collections)
    np.testing.assert_allclose(np.diff([line[:, 1] for line in deviations[0]])[:, 0], 2 * 0.2 / 2**0.5)
    assert [line[0, 1] for line in oracle] == pytest.approx([2.1, 3.1, 4.1])
    crosses = [line.get_xydata().tolist() for line in panel.lines if line.get_marker() == "x"]
    assert crosses == [[[pytest.approx(1.2), 0]]]
    assert [t.get_text() for t in panel.get_xticklabels()] == ["text", "audio", "total"]
    assert panel.get_ylabel() == "worth, points of UA\n(mean ± std)" and set(legend(figure)) == {"A", "B", "oracle"}
    assert show.worth(worths(["A"], seeds=1), "points").axes[0].get_ylabel() == "worth, points"


def test_worth_tells_twenty_methods_apart():
    bars = [group[0] for group in show.worth(worths([f"m{k}" for k in range(20)]), "points").axes[0].containers]
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in bars}) == 20


def test_worth_refuses():
    with pytest.raises(ValueError, match="no method 'oracle'; there are .'A', 'B'."):
        show.worth(worths(["A", "B"]), "points", "oracle")
    with pytest.raises(ValueError, match="no rows"):
        show.worth(worths(["A"])[:0], "points")


# What holds for all


LONG = ["100_image_20_text", "20_image_100_text", "complex_20_40_40", "complex_40_40_20", "40_image_100_text"]
DRAWN = {
    "missingness": lambda: show.missingness(FRAMES, title="a title"),
    "frames": lambda: show.missingness(REAL, title="a title", real=REAL),
    "losses": lambda: show.losses(history({"a long stage name": 2, "another long one": 3, "the last stage": 90})),
    "embeddings": lambda: embeddings(*2 * [{m: cloud(12, 3, 0) for m in ("image", "text", "audio")}]),
    "generations": lambda: generations(
        tokens(12, 0, ("text", "audio", "vision")),
        {f"n = {10**k}": tokens(12, k, ("text", "audio", "vision")) for k in range(5)},
        title="a title",
    ),
    "generations of long names": lambda: generations(
        tokens(6, 0, LONG), {f"a panel whose name is longer than it {k}": tokens(6, k, LONG) for k in range(3)}
    ),
    "representations": lambda: representations(
        {f"a method whose name is longer than its panel {k}": cloud(60, 3, k) for k in range(4)}, SIGNS, title="a title"
    ),
    "one representation": lambda: representations({"UMDF": cloud(60, 3, 0)}, SIGNS, title="a title"),
    "classes": lambda: representations(
        {"UMDF": cloud(60, 3, 0)}, torch.arange(60) % 7, names=[f"a long emotion {k}" for k in range(7)]
    ),
    "two scores": lambda: show.degradation(
        runs([0.0, 0.1, 0.2], [f"a method {k}" for k in range(10)]).assign(mae=1.0),
        *("missing_rate", ["macro_f1", "mae"], "method", {"training mean": [0.1, 1.2]}),
    ),
    "two scores by name": lambda: show.degradation(runs(LONG, ["A", "B"]), "missing_rate", ["macro_f1"] * 2, "method"),
    "numbers": lambda: show.degradation(
        runs([0.0, 0.1, 0.2], [f"a method {k}" for k in range(10)]), "missing_rate", "macro_f1", "method"
    ),
    "worth": lambda: show.worth(
        worths([f"a long method {k}" for k in range(12)] + ["oracle"]), "points of UA", "oracle"
    ),
    "names": lambda: show.degradation(runs(LONG, ["A", "B"]), "missing_rate", "macro_f1", "method", {"floor": 0.1}),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_texts_are_apart_and_neither_pyplot_nor_its_settings_keep_anything(draw):
    settings = dict(plt.rcParams)
    figure = draw()
    assert plt.get_fignums() == [] and dict(plt.rcParams) == settings
    assert_texts_are_apart(figure)
    for panel in figure.axes:
        assert not panel.spines["top"].get_visible() and not panel.spines["right"].get_visible()


def test_save_writes_one_file_whole_or_not_at_all(tmp_path, monkeypatch):
    figure = show.losses(history())
    path = show.save(figure, tmp_path / "new" / "folder", "fig_1")
    assert path == tmp_path / "new" / "folder" / "fig_1.png" and list(path.parent.iterdir()) == [path]
    assert plt.imread(path).shape[:2] == (525, 1050)  # 7 x 3.5 inches at 150 dpi
    before = path.read_bytes()

    def dies_midway(target, **_):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", dies_midway)
    with pytest.raises(OSError, match="disk full"):
        show.save(figure, path.parent, "fig_1")
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


# Predicted against true


def agreement(panels, title=""):
    return show.agreement(show.agreement_points(panels), title)


def test_agreement_draws_every_row_and_says_what_a_constant_is_worth():
    truth = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    panels = {
        ("perfect", "text"): (truth, truth),
        ("half", "text"): (truth, truth / 2),
        ("constant", "text"): (truth, torch.ones(5)),
        ("half", "audio"): (truth, -truth),
    }
    figure = agreement(panels, "a title")
    drawn = [p for p in figure.axes if p.get_visible()]
    assert [p.get_title() for p in drawn] == ["perfect, text", "half, text", "constant, text", "half, audio"]
    assert figure.get_suptitle() == "a title"
    notes = ["mae 0.00, slope 1.00", "mae 0.60, slope 0.50", "mae 1.40, slope 0.00", "mae 2.40, slope -1.00"]
    assert [p.get_xlabel().split("\n")[1] for p in drawn] == notes
    for panel, (_, said) in zip(drawn, panels.values(), strict=True):
        np.testing.assert_allclose(panel.collections[0].get_offsets(), torch.stack((truth, said), 1))
        np.testing.assert_allclose(panel.lines[0].get_xydata(), [[-2, -2], [2, 2]])
    assert len({p.get_ylim() for p in drawn}) == 1 and len(figure.axes) == 6
    assert_texts_are_apart(figure)


@pytest.mark.parametrize(
    "panels", [{}, {("one", ""): (torch.ones(1), torch.ones(1))}, {("a", ""): (torch.ones(3), torch.ones(2))}]
)
def test_agreement_refuses_what_it_cannot_draw(panels):
    with pytest.raises(ValueError, match="nothing to draw|needs at least two of each"):
        agreement(panels)


# Points as files


POINTS = {
    "embeddings": lambda: show.embedding_points({"image": cloud(12, 3, 0)}, {"image": cloud(9, 3, 1)}),
    "generations": lambda: show.generation_points(tokens(6, 0), {f"n = {k}": tokens(6, k) for k in (100, 20)}),
    "representations": lambda: show.representation_points({"UMDF": cloud(60, 3, 0), "b": cloud(60, 3, 1)}, SIGNS),
    "agreement": lambda: show.agreement_points({("UMDF", "text"): (cloud(9, 1, 0)[:, 0], cloud(9, 1, 1)[:, 0])}),
}


@pytest.mark.parametrize("kind", POINTS)
def test_points_from_a_file_are_drawn_as_they_are(kind, tmp_path):
    points = POINTS[kind]()
    path = show.save_points(points, tmp_path / "new", f"{kind}_1")
    assert list(path.parent.iterdir()) == [path] and path.name == f"{kind}_1.csv"
    straight, read = (getattr(show, kind)(table) for table in (points, pd.read_csv(path)))
    for one, other in zip(straight.axes, read.axes, strict=True):
        assert [getattr(one, f"get_{t}")() for t in ("title", "xlabel")] == [
            getattr(other, f"get_{t}")() for t in ("title", "xlabel")
        ]
        for a, b in zip(one.collections, other.collections, strict=True):
            assert a.get_label() == b.get_label() or a.get_label().startswith("_")
            a, b = (np.asarray(c.get_offsets()) for c in (a, b))
            np.testing.assert_allclose(a[np.lexsort(a.T.round(4))], b[np.lexsort(b.T)], atol=1e-4)


@pytest.mark.parametrize("kind", POINTS)
def test_no_order_of_samples_is_left_in_a_file(kind, tmp_path):
    points = POINTS[kind]()
    groups = list(points.select_dtypes(exclude="number"))
    shuffled = points.sample(frac=1, random_state=0)
    first_seen = points[groups].drop_duplicates().reset_index(drop=True).reset_index(names="at")
    shuffled = shuffled.merge(first_seen, on=groups).sort_values("at", kind="stable").drop(columns="at")
    files = [show.save_points(table, tmp_path, f"p{k}").read_bytes() for k, table in enumerate((points, shuffled))]
    assert files[0] == files[1] and not points.equals(shuffled.reset_index(drop=True))


@pytest.mark.parametrize("kind", POINTS)
def test_points_that_lack_a_column_are_refused(kind):
    points = POINTS[kind]()
    for column in points:
        named = "class" if column == "sentiment" else column
        with pytest.raises(ValueError, match=f"show.{kind}: the table has no column '{named}'"):
            getattr(show, kind)(points.drop(columns=column))
