"""The papers' figures hold the committed numbers, and can be read: at their size, in grey, by the colour-blind."""

import csv
import functools
import itertools
import statistics

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb

from mmlib import runs
from mmlib.report import figures
from mmlib.report.rows import CORPORA, results
from tests.helpers import results as made
from tests.helpers.figures import assert_texts_are_apart
from tests.helpers.points import made as made_points

WIDTHS = {
    "simc_fig1": 3.3,
    "smcir_fig2": 6.9,
    "smcir_fig3": 6.9,
    "umdf_fig3": 6.9,
    "umdf_fig4": 6.9,
    "umdf_fig5": 6.9,
    "umdf_fig6": 6.9,
    "admc_fig3": 6.9,
    "findings": 6.9,
}
LINES = ["smcir_fig3", "umdf_fig3", "umdf_fig4", "umdf_fig5"]
CLOUDS = ["simc_fig1", "smcir_fig2", "umdf_fig6", "admc_fig3"]
STORED = [path.stem for path in figures.POINTS.glob("*.csv")]


FLAGGED = {("zero fill", "", 1): "limit", ("UMDF", "w/o MCIM", 2): "limit", ("UMDF", "w/o MCIM", 4): "at_prior"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Made-up rows of all data sets; the points of the maps are the committed ones."""

    def write(folder):
        for paper in ("umdf", "smcir", "admc"):
            for dataset in made.DATASETS[paper]:
                made.write_study(folder, paper, dataset, FLAGGED if dataset == "mosi_words" else None)

    with made.read_from(tmp_path_factory.mktemp("rows"), write) as folder:
        yield folder


@functools.cache
def points(name):
    """The committed points, made-up ones where no study has made them yet."""
    return figures.read_points(name) if name in STORED else made_points(name)


@pytest.fixture(scope="module")
def drawn(folder):
    drawn = {name: getattr(figures, name)(results(name.split("_")[0])) for name in LINES}
    drawn |= {name: getattr(figures, name)(points(name)) for name in CLOUDS}
    return drawn | {"findings": figures.findings()}


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    folders = [tmp_path_factory.mktemp(f"figures{k}") for k in range(2)]
    return [figures.write(figures.draw_all()[0], folder / "new") for folder in folders]


def by_hand(folder, paper, seeds="01234", **wanted):
    """The values of the rows that match, read without the project's code."""
    with open(folder / f"{paper}_{CORPORA[wanted['dataset']].study}.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["role"] == "test"]
    rows = [row for row in rows if all(row[k] == v for k, v in wanted.items()) and row["seed"] in seeds]
    assert sorted(row["seed"] for row in rows) == list(seeds), wanted
    return [float(row["value"]) for row in rows]


def line(panel, label):
    (found,) = [line for line in panel.lines if line.get_label() == label]
    return found


def at(line, x):
    (y,) = line.get_ydata()[np.isclose(line.get_xdata(), x)]
    return y


# Files


@pytest.mark.slow
def test_both_files_of_every_figure_come_out_at_their_size_and_the_same_each_time(written):
    drawable = sorted(WIDTHS.keys() - (set(CLOUDS) - set(STORED)))
    names = [f"{name}.{kind}" for name in drawable for kind in ("pdf", "png")]
    for paths in written:
        assert [path.name for path in paths] == names
        assert sorted(path.name for path in paths[0].parent.iterdir()) == names
    for one, other in zip(*written, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
        if one.suffix == ".png":
            assert plt.imread(one).shape[1] == round(300 * WIDTHS[one.stem])
        else:
            assert one.read_bytes().startswith(b"%PDF") and b"/CreationDate" not in one.read_bytes()


def test_the_folder_of_figures_holds_these_and_no_others():
    names = {f"{name}.{kind}" for name in WIDTHS for kind in ("pdf", "png")}
    assert {path.name for path in (runs.ROOT / "figures").iterdir()} <= names
    assert not [name for name in set(CLOUDS) - set(STORED) if (runs.ROOT / "figures" / f"{name}.png").exists()]
    assert {path.stem for path in figures.POINTS.iterdir()} <= set(CLOUDS)


# Lines


@pytest.mark.parametrize("column, dataset", enumerate(["mosi_words", "mosi_mpnet", "synthetic reviews"]))
@pytest.mark.parametrize("row, metric, scale", [(0, "mae", 1), (1, "f1_non0", 100)])
def test_umdf_fig3_draws_means_and_deviations_of_the_rows(column, dataset, row, metric, scale, drawn, folder):
    panel = drawn["umdf_fig3"].axes[3 * row + column]
    systems = {
        "UMDF": ("UMDF", ""),
        "UMDF, one view": ("UMDF", "one view"),
        **{name: (name, "") for name in ("zero fill", "zero fill + modality dropout", "prior")},
    }
    systems |= {"oracle": ("oracle", "")} if dataset == "synthetic reviews" else {}
    assert [line.get_label() for line in panel.lines] == list(systems)
    for k, (label, (method, variant)) in enumerate(systems.items()):
        seeds = "0234" if (dataset, method) == ("mosi_words", "zero fill") else "01234"  # seed 1 has a flag
        wanted = {"dataset": dataset, "method": method, "variant": variant, "metric": metric}
        values = by_hand(folder, "umdf", seeds, condition="frames(0.5)", **wanted)
        mean, spread = scale * statistics.mean(values), scale * statistics.stdev(values)
        assert at(line(panel, label), 0.5) == pytest.approx(mean)
        band = panel.collections[k].get_paths()[0].vertices
        band = band[np.isclose(band[:, 0], 0.5), 1]
        assert (band.min(), band.max()) == (pytest.approx(mean - spread), pytest.approx(mean + spread))


def test_the_legend_names_the_seeds_that_are_left_out(drawn):
    titles = {name: [legend.get_title().get_text() for legend in drawn[name].legends] for name in LINES}
    assert titles["umdf_fig3"] == ["Left out for flags: (a) zero fill, seed 1"]
    (title,) = titles["umdf_fig5"]
    assert "(a) zero fill, seed 1" in title and "(a) w/o MCIM, seeds 2, 4" in title
    assert titles["umdf_fig4"] == titles["smcir_fig3"] == [""]


def test_umdf_fig4_draws_each_emotion(drawn, folder):
    panels = drawn["umdf_fig4"].axes
    assert [panel.get_title() for panel in panels] == ["happy", "sad", "angry", "neutral"]
    for panel, metric in zip(panels, ("f1_1", "f1_3", "f1_0", "f1_2"), strict=True):
        for method in ("UMDF", "zero fill", "prior"):
            wanted = {"dataset": "iemocap_mpnet, one vs rest", "method": method, "variant": "", "metric": metric}
            mean = 100 * statistics.mean(by_hand(folder, "umdf", condition="frames(0.3)", **wanted))
            assert at(line(panel, method), 0.3) == pytest.approx(mean)


def test_umdf_fig5_draws_each_ablation_and_says_what_guessing_gives(drawn, folder):
    panels = {("mae", d): drawn["umdf_fig5"].axes[k] for k, d in enumerate(("mosi_words", "mosi_mpnet"))}
    panels |= {("f1_non0", d): drawn["umdf_fig5"].axes[k + 2] for k, d in enumerate(("mosi_words", "mosi_mpnet"))}
    for (metric, dataset), panel in panels.items():
        scale = 1 if metric == "mae" else 100
        for variant in ("w/o L_fea", "w/o L_logits", "w/o MCIM", "w/o DFIM"):
            seeds = "013" if (dataset, variant) == ("mosi_words", "w/o MCIM") else "01234"
            wanted = {"dataset": dataset, "method": "UMDF", "variant": variant, "metric": metric}
            mean = scale * statistics.mean(by_hand(folder, "umdf", seeds, condition="frames(0.7)", **wanted))
            drawn_line = line(panel, variant)
            assert at(drawn_line, 0.7) == pytest.approx(mean)
            start, step = drawn_line.get_markevery()
            assert len(drawn_line.get_xdata()[start::step]) >= 2
        wanted = {"dataset": dataset, "method": "prior", "variant": "", "metric": metric}
        guess = scale * statistics.mean(by_hand(folder, "umdf", condition="frames(0)", **wanted))
        (note,) = panel.texts
        low, high = panel.get_ylim()
        arrow, said = note.get_text()[-1], float(note.get_text().split()[1])
        assert said == pytest.approx(guess, abs=0.06) and arrow == ("↑" if guess > high else "↓")
        assert not low <= guess <= high


def test_smcir_fig3_draws_what_is_diagnosed_against_what_is_true(drawn, folder):
    panels = drawn["smcir_fig3"].axes
    for panel, dataset in zip(panels, ("mmmo", "synthetic reviews"), strict=True):
        for name, variant in (("as printed", ""), ("released code", "official"), ("corrected", "corrected")):
            for m in ("audio", "vision"):
                wanted = {"dataset": dataset, "method": "SMCIR", "metric": f"diagnosed_{m}", "variant": variant}
                conditions = ("complete", "patterns(keep=text)", "available(text)")
                means = [statistics.mean(by_hand(folder, "smcir", condition=c, **wanted)) for c in conditions]
                np.testing.assert_allclose(line(panel, f"{name}, {m}").get_ydata(), means)
                x = line(panel, f"{name}, {m}").get_xdata()
                assert x.tolist() == pytest.approx([0, 0.5, 1])  # 0.5 are diagnosed; precision and recall are equal


# Points


def test_every_point_is_drawn_once(drawn):
    for name in CLOUDS:
        found = points(name)
        x, y = ("truth", "prediction") if name == "smcir_fig2" else ("x", "y")
        offsets = [c.get_offsets() for panel in drawn[name].axes for c in panel.collections]
        shown = np.concatenate(offsets)
        expected = found[[x, y]].to_numpy()
        np.testing.assert_allclose(shown[np.lexsort(shown.T)], expected[np.lexsort(expected.T)])


@pytest.mark.parametrize("name", ["simc_fig1", "umdf_fig6", "admc_fig3"])
def test_maps_say_what_was_measured(name, drawn):
    panel = {"simc_fig1": "modality", "umdf_fig6": "method", "admc_fig3": "panel"}[name]
    for axes, (_, rows) in zip(drawn[name].axes, points(name).groupby(panel, sort=False), strict=True):
        for accuracy in rows["accuracy"].unique():
            assert f"{accuracy:.2f}" in axes.get_xlabel()


def test_files_of_points_hold_places_labels_and_measured_numbers_alone():
    known = {"modality", "kind", "panel", "method", "sentiment", "told", "system", "condition"}
    numbers = {"x", "y", "accuracy", "chance", "truth", "prediction"}
    assert set(STORED) <= set(CLOUDS)
    for name in STORED:
        found = points(name)
        assert set(found) <= known | numbers, name
        assert all(found[column].nunique() <= 5 for column in known & set(found))
        assert (figures.POINTS / f"{name}.csv").stat().st_size < 600_000


def test_smcir_fig2_says_error_and_slope(drawn):
    rows = points("smcir_fig2").groupby(["system", "condition"], sort=False)
    for panel, (_, part) in zip(drawn["smcir_fig2"].axes, rows, strict=True):
        mae = (part["truth"] - part["prediction"]).abs().mean()
        slope = np.polyfit(part["truth"], part["prediction"], 1)[0]
        assert panel.get_title("right") == f"MAE {mae:.2f}, slope {slope:.2f}"


# What holds for all


def lightness(rgb):
    return float(linear(rgb) @ [0.2126, 0.7152, 0.0722]) ** (1 / 3)


def linear(rgb):
    rgb = np.asarray(rgb)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def seen_without_green(rgb):
    """A colour as seen without green cones (Machado et al. 2009, severity 1), in linear RGB."""
    matrix = [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    return np.clip(np.array(matrix) @ linear(rgb), 0, 1)


def looks(panel):
    """Label, form and colour of every line and every cloud of one panel."""
    for line in panel.lines:
        if not line.get_label().startswith("_"):
            dashes = line._dash_pattern if line.is_dashed() else "solid"
            yield line.get_label(), (line.get_marker(), str(dashes), line.get_linewidth()), to_rgb(line.get_color())
    for cloud in panel.collections:
        if isinstance(cloud, PathCollection) and len(cloud.get_facecolor()) == 1:
            form = cloud.get_paths()[0].vertices.tobytes()
            yield cloud.get_label(), form, cloud.get_facecolor()[0, :3]


@pytest.mark.parametrize("name", LINES + CLOUDS)
def test_nothing_is_told_by_hue_alone(name, drawn):
    pairs = [pair for panel in drawn[name].axes for pair in itertools.combinations(looks(panel), 2)]
    assert pairs or name == "smcir_fig2"  # whose colour only repeats the place
    for (one, form, colour), (other, same, shade) in pairs:
        assert name not in LINES or form != same, (one, other)
        if form == same:
            assert np.abs(seen_without_green(colour) - seen_without_green(shade)).max() > 0.1, (one, other)
            assert abs(lightness(colour) - lightness(shade)) > 0.1, (one, other)


@pytest.mark.parametrize("name", WIDTHS)
def test_letters_can_be_read_and_nothing_overlaps(name, drawn):
    figure = drawn[name]
    assert figure.get_size_inches()[0] == WIDTHS[name] and plt.get_fignums() == []
    assert_texts_are_apart(figure)
    sizes = [text.get_fontsize() for text in figure.findobj(plt.Text) if text.get_text().strip()]
    assert min(sizes) >= 6.5 and max(sizes) <= 9
    renderer = FigureCanvasAgg(figure).get_renderer()
    for legend in figure.legends:
        box = legend.get_window_extent(renderer)
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0
        assert all(box.y1 <= panel.get_tightbbox(renderer).y0 for panel in figure.axes)
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert {label for panel in figure.axes for label, *_ in looks(panel)} == set(labels)
    assert len(labels) == len(set(labels))


# Errors


@pytest.mark.parametrize("name", CLOUDS)
def test_a_missing_column_is_named(name):
    for column in set(points(name)) - {"told"}:
        with pytest.raises(ValueError, match=f"figures.{name}: the table has no column '{column}'"):
            getattr(figures, name)(points(name).drop(columns=column))
    with pytest.raises(ValueError, match=f"figures.{name}: the table has no rows"):
        getattr(figures, name)(points(name)[:0])


def test_a_data_set_without_rows_has_no_panel_and_a_system_without_rows_no_line(folder):
    rows = results("umdf")
    rows = rows[(rows["dataset"] != "mosi_mpnet") & (rows["variant"] != "w/o DFIM")]
    figure = figures.umdf_fig5(rows)
    assert [panel.get_title() for panel in figure.axes] == ["(a) MOSI, static words", ""], "two metrics of one data set"
    words = figure.axes[0]
    labels = [line.get_label() for line in words.lines]
    assert "UMDF" in labels and "w/o DFIM" not in labels and "w/o MCIM" in labels


def test_without_any_row_and_point_all_but_the_printed_score_is_left_out_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "POINTS", tmp_path / "none")
    with made.read_from(tmp_path, made.nothing):
        drawn, left_out = figures.draw_all()
        for draw in figures.FROM_ROWS:
            assert all("not run yet" in panel.texts[0].get_text() for panel in draw(results("umdf")).axes)
    assert set(drawn) == {"findings"} and set(left_out) == set(LINES + CLOUDS)
    assert [len(panel.patches) for panel in drawn["findings"].axes] == [3], "a panel without rows is left out"
    studies = ("umdf_mosi_words", "umdf_mosi_mpnet")
    commands = (f"not run: python -m mmlib.runs notebooks/studies/{study}.yaml" for study in studies)
    assert left_out["umdf_fig5"] == "; ".join(commands)
    assert left_out["umdf_fig6"].startswith(
        "no data/results/figures/umdf_fig6.csv; a run of notebooks/umdf.ipynb writes it"
    )


def test_a_notebook_shows_a_figure_below_its_caption_or_why_it_is_left_out(folder, tmp_path, monkeypatch):
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda *shown: outputs.extend(shown))
    figures.show_figure("umdf", "3")
    caption, figure = outputs
    assert (
        caption.data.startswith("**UMDF, Figure 3: mean absolute error") and "hidden after encoding (b)" in caption.data
    )
    assert "rows:" not in caption.data and isinstance(figure, plt.Figure)
    with made.read_from(tmp_path, made.nothing):
        figures.show_figure("umdf", "4")
    assert outputs[-1].data.endswith("not run: python -m mmlib.runs notebooks/studies/umdf_iemocap.yaml")
    with pytest.raises(KeyError):
        figures.show_figure("umdf", "1")


def test_a_map_takes_any_number_of_panels():
    every = points("admc_fig3")
    for names in (["n = 50"], ["n = 30", "n = 1000"]):
        few = figures.admc_fig3(every[every["panel"].isin(names)])
        assert [panel.get_title() for panel in few.axes] == names


def test_panels_without_rows_are_named(tmp_path):
    with made.read_from(tmp_path, made.nothing):
        assert figures.empty_panels() == {name: list(sets) for name, sets in figures.SETS.items()}
