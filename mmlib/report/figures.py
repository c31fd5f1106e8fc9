"""The papers' figures drawn with our numbers, at the size in which they are printed.

Every function is named after the figure that it redraws and returns a Figure that pyplot no longer holds. Lines come from
the rows of `rows.results`: means over five seeds with a band of one standard deviation. Maps and clouds of points come
from one run each (seed 0): the files of data/results/figures, which the papers' notebooks write. `draw_all` draws every
figure, `write` saves them. The papers' diagrams of networks show no data and are not redrawn.
"""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmlib import files
from mmlib.report.findings import NUMBERS, detection
from mmlib.report.rows import ROOT, Rows, SystemName, by_seed, conditions_like, results, score
from mmlib.show import curves, maps, theme

POINTS = ROOT / "data" / "results" / "figures"
COLUMN, PAGE = 3.3, 6.9  # inches: one column, and two with the gap between
THEME = theme.THEME | {
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "axes.linewidth": 0.6, "grid.linewidth": 0.5, "lines.linewidth": 1.1, "lines.markersize": 3.2,
    "pdf.fonttype": 42,  # letters stay text that can be searched
}  # fmt: skip
_GREY = {"color": "0.45", "lw": 0.8, "zorder": 1.5}
_STYLES = {  # apart in marker or dashes, too: for the colour-blind and for print in grey
    ("UMDF", ""): {"color": theme.PALETTE[0], "marker": "o", "zorder": 2.2},
    ("UMDF", "cloned streams"): {"color": theme.PALETTE[1], "marker": "s"},
    ("UMDF", "w/o L_fea"): {"color": theme.PALETTE[1], "marker": "s"},
    ("UMDF", "w/o L_logits"): {"color": theme.PALETTE[2], "marker": "^"},
    ("UMDF", "w/o MCIM"): {"color": theme.PALETTE[3], "marker": "v"},
    ("UMDF", "w/o DFIM"): {"color": theme.PALETTE[4], "marker": "D"},
    ("zero fill", ""): {**_GREY, "ls": (0, (5, 2))},
    ("zero fill + modality dropout", ""): {**_GREY, "ls": (0, (4, 1.5, 1, 1.5))},
    ("prior", ""): {**_GREY, "ls": (0, (1, 1.5))},
    ("oracle", ""): {"color": "black", "lw": 0.8, "zorder": 1.9},
}
_UMDF, _CLONED, *_ABLATIONS = [system for system in _STYLES if system[0] == "UMDF"]
_COLUMNS = ["dataset", "method", "variant", "condition", "metric", "seed", "value"]
_PRIOR, _ORACLE = ("prior", ""), ("oracle", "")
_BASELINES = [("zero fill", ""), ("zero fill + modality dropout", ""), _PRIOR]


@plt.rc_context(THEME)
def simc_fig1(points: pd.DataFrame) -> Figure:
    """SIM-C, Figure 1: t-SNE of real and imputed embeddings of test films under complex_20_40_40.

    points: columns as of `show.embedding_points`. Below each map stands a number that the paper does not have: the
    balanced accuracy with which a linear classifier tells real from imputed embeddings. Differs: films of `mmimdb_subset`,
    posters through EfficientNet-lite0 and plots through MiniLM instead of CLIP; SIM-C alone, at the paper's learning rate.
    """
    theme.require_columns(points, ["modality", "kind", "x", "y", "accuracy"], "figures.simc_fig1")
    parts = list(points.groupby("modality", sort=False))
    figure, panels = _panels(COLUMN, 2.3, 1, len(parts))
    for panel, (m, rows) in zip(panels.flat, parts, strict=True):
        maps.draw_embeddings(panel, rows, maps.IMPUTED[m], size=4)
        for cloud, label in zip(panel.collections, ("real", f"imputed {m}"), strict=True):
            cloud.set_label(label)
        _map(panel, m, f"linear accuracy {rows['accuracy'].iloc[0]:.2f}\n(0.50 = chance)")
    _legend(figure, 3, markerscale=2, handlelength=1)
    return figure


@plt.rc_context(THEME)
def smcir_fig2(points: pd.DataFrame) -> Figure:
    """SMCIR, Figure 2: predicted against true sentiment of test clips, a line for each method, a column for each condition.

    points: columns as of `show.agreement_points`. Colour is the true value, -3 to 3; the dashed line is a perfect
    prediction. In each panel: mean absolute error and slope of the least-squares line. Differs: the methods (SMCIR as
    printed and corrected, zero fill with modality dropout) and the features (`mosi_bclstm`, one vector per modality).
    """
    theme.require_columns(points, ["system", "condition", "truth", "prediction"], "figures.smcir_fig2")
    systems, conditions = (list(dict.fromkeys(points[column])) for column in ("system", "condition"))
    figure, panels = _panels(PAGE, 0.4 + 1.75 * len(systems), len(systems), len(conditions), sharex=True, sharey=True)
    ends = float(points["truth"].min()), float(points["truth"].max())
    for system, line in zip(systems, panels, strict=True):
        for condition, panel in zip(conditions, line, strict=True):
            rows = points[(points["system"] == system) & (points["condition"] == condition)]
            note = curves.draw_agreement(panel, rows, ends, size=4)
            panel.set_title(note.replace("mae", "MAE"), size=7, loc="right", pad=2)
        line[0].set_ylabel(system.replace(" + ", " +\n") + "\nprediction")
    for condition, top, bottom in zip(conditions, panels[0], panels[-1], strict=True):
        title = f"available: {condition.strip('()')}"
        top.annotate(title, (0.5, 1), (0, 14), "axes fraction", "offset points", ha="center")
        bottom.set(xlabel="true value", xticks=range(-3, 4), yticks=range(-3, 4))
    return figure


@plt.rc_context(THEME)
def smcir_fig3(rows: pd.DataFrame) -> Figure:
    """SMCIR, Figure 3: the share of test clips in which the detector misses a modality, against the share that lacks it.

    rows: of `results("smcir")`. A detector that is right lies on the broad line. The true share is 0 for complete clips,
    1 for text alone, and about a half where modalities are missing at random; there it follows from the rows as share
    diagnosed times precision, over recall. Differs: the paper draws the share diagnosed without the true share; clips of
    MOSI (`mosi_bclstm`), of ICT-MMMO in place of MOSEI, and synthetic ones; the detector as printed, of the released code,
    and corrected.
    """
    theme.require_columns(rows, _COLUMNS, "figures.smcir_fig3")
    sets = {"mosi_bclstm": "(a) MOSI, one vector each", "mmmo": "(b) ICT-MMMO", "synthetic mosi": "(c) synthetic"}
    detectors = {"": "as printed", "official": "released code", "corrected": "corrected"}
    figure, panels = _panels(PAGE, 2.5, 1, len(sets), sharex=True, sharey=True)
    for panel, (dataset, title) in zip(panels.flat, sets.items(), strict=True):
        for k, (variant, name) in enumerate(detectors.items()):
            for m, marker, dashes in (("audio", "os^"[k], "-"), ("vision", "DvP"[k], (0, (3, 1)))):
                at, mean, std = _diagnosed(rows, dataset, variant, m)
                style = {"color": theme.PALETTE[k], "marker": marker, "ls": dashes, "label": f"{name}, {m}"}
                curves.draw_line(panel, at, mean, std, **style)
        panel.plot([0, 1], [0, 1], label="true share", color="0.85", lw=5, zorder=1, solid_capstyle="butt")
        panel.set(title=title, xlabel="share of clips that lack it")
        panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    panels[0, 0].set(ylabel="share diagnosed missing", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    _legend(figure, 4)
    return figure


@plt.rc_context(THEME)
def umdf_fig3(rows: pd.DataFrame) -> Figure:
    """UMDF, Figure 3: mean absolute error and F1 against the frame missing rate p.

    rows: of `results("umdf")`. At p = 1 each clip keeps one frame. Differs: clips of MOSI twice, as MiniLM tokens with
    one openSMILE vector (a) and as one vector per modality (b), and synthetic ones with their oracle (c), in place of
    MOSEI; UMDF is compared with baselines and with its form that integrates each view with itself, not with published
    methods.
    """
    theme.require_columns(rows, _COLUMNS, "figures.umdf_fig3")
    sets = {"mosi": "(a) MOSI, words and one vector", "mosi_bclstm": "(b) MOSI, one vector each"}
    sets |= {"synthetic mosi": "(c) synthetic"}
    systems = [_UMDF, _CLONED, *_BASELINES]
    figure, panels = _panels(PAGE, 4.2, 2, len(sets), sharex=True)
    for column, (dataset, title) in zip(panels.T, sets.items(), strict=True):
        here = [*systems, _ORACLE] if dataset.startswith("synthetic") else systems
        _rates(column[0], rows, dataset, "mae", here)
        _rates(column[1], rows, dataset, "f1_non0", here)
        column[0].set_title(title)
        column[1].set_xlabel("frame missing rate p")
    panels[0, 0].set_ylabel("MAE")
    panels[1, 0].set_ylabel("F1 (%)")
    _legend(figure, 3)
    return figure


@plt.rc_context(THEME)
def umdf_fig4(rows: pd.DataFrame) -> Figure:
    """UMDF, Figure 4: F1 of happy, sad, angry and neutral of IEMOCAP against the frame missing rate p.

    rows: of `results("umdf")`. Differs: text as MiniLM sentence vector and audio as GeMAPS statistics, no video, so a
    frame that is lost is a modality that is lost; the systems as in `umdf_fig3`.
    """
    theme.require_columns(rows, _COLUMNS, "figures.umdf_fig4")
    emotions = {"happy": "f1_1", "sad": "f1_3", "angry": "f1_0", "neutral": "f1_2"}
    figure, panels = _panels(PAGE, 2.2, 1, len(emotions), sharex=True, sharey=True)
    for panel, (emotion, metric) in zip(panels.flat, emotions.items(), strict=True):
        _rates(panel, rows, "iemocap", metric, [_UMDF, _CLONED, *_BASELINES])
        panel.set(title=emotion, xlabel="frame missing rate p")
    panels[0, 0].set_ylabel("F1 (%)")
    _legend(figure, 5)
    return figure


@plt.rc_context(THEME)
def umdf_fig5(rows: pd.DataFrame) -> Figure:
    """UMDF, Figure 5: ablations against the frame missing rate p, on clips of MOSI.

    rows: of `results("umdf")`. Differs: one vector per modality (`mosi_bclstm`), so a frame that is lost is a modality
    that is lost; two baselines are drawn, too.
    """
    theme.require_columns(rows, _COLUMNS, "figures.umdf_fig5")
    systems = [_UMDF, *_ABLATIONS]
    figure, panels = _panels(COLUMN, 4.3, 2, 1, sharex=True)
    for panel, (metric, name) in zip(panels.flat, {"mae": "MAE", "f1_non0": "F1 (%)"}.items(), strict=True):
        _rates(panel, rows, "mosi_bclstm", metric, [*systems, *_BASELINES[:2]], alpha=0.08)
        for k, line in enumerate(panel.lines[: len(systems)]):
            line.set_markevery((k, len(systems)))  # the lines overlap: with markers in turn each can be seen
        # The prior is far from the other lines: drawn as a line, it would press them together.
        guess = _by_rate(rows, "mosi_bclstm", metric, _PRIOR)["mean"].iloc[0]
        high, low = f"prior: {guess:.2f} \N{UPWARDS ARROW}", f"prior: {guess:.1f} \N{DOWNWARDS ARROW}"
        at = {"s": high, "y": 0.95, "va": "top"} if metric == "mae" else {"s": low, "y": 0.05, "va": "bottom"}
        panel.text(0.03, size=7, color="0.35", transform=panel.transAxes, **at)
        panel.set_ylabel(name)
    panels[1, 0].set_xlabel("frame missing rate p")
    _legend(figure, 2)
    return figure


@plt.rc_context(THEME)
def umdf_fig6(points: pd.DataFrame) -> Figure:
    """UMDF, Figure 6: t-SNE of joint representations of MOSI's test clips, text alone with half of its frames lost.

    points: columns as of `show.representation_points`. Below each map: the balanced accuracy with which a linear classifier
    tells negative from positive in the representation itself. Differs: MiniLM tokens; the methods; orange, blue and grey
    in the place of red, blue and green, which not everyone can tell apart.
    """
    theme.require_columns(points, ["method", "sentiment", "x", "y", "accuracy", "chance"], "figures.umdf_fig6")
    parts = list(points.groupby("method", sort=False))
    figure, panels = _panels(PAGE, 2.6, 1, len(parts))
    for panel, (m, rows) in zip(panels.flat, parts, strict=True):
        maps.draw_representations(panel, rows, size=6)
        _map(panel, _label(m), "linear accuracy {accuracy:.2f} ({chance:.2f} = chance)".format(**rows.iloc[0]))
    _legend(figure, 3, markerscale=1.6, handlelength=1)
    return figure


@plt.rc_context(THEME)
def admc_fig3(points: pd.DataFrame) -> Figure:
    """ADMC, Figure 3: one t-SNE map of real and generated features of IEMOCAP for each start step n.

    points: columns as of `show.generation_points`. Each modality is generated from the other. Below each map: the balanced
    accuracies with which a linear classifier tells generated from real. Differs: text as MiniLM sentence vector and audio
    as GeMAPS statistics, no video; 100 samples, not 600; no MIntRec, of which only text is public.
    """
    theme.require_columns(points, ["panel", "modality", "kind", "x", "y", "accuracy"], "figures.admc_fig3")
    parts = list(points.groupby("panel", sort=False))
    figure, panels = _panels(PAGE, 2.3, 1, len(parts), sharex=True, sharey=True)
    for panel, (n, rows) in zip(panels.flat, parts, strict=True):
        maps.draw_generations(panel, rows, size=3)
        accuracies = rows.groupby("modality", sort=False)["accuracy"].first()
        _map(panel, n, f"linear accuracy\n{', '.join(f'{m} {accuracy:.2f}' for m, accuracy in accuracies.items())}")
    _legend(figure, 4, markerscale=2, handlelength=1)
    return figure


@plt.rc_context(THEME)
def findings() -> Figure:
    """Three findings of ours as bars, for the README: what a printed metric, a detector and generated features are worth."""
    simc, admc = NUMBERS["simc"](), NUMBERS["admc"]()
    cells = {"complete films": simc["full"], "modality missing": simc["missing"], "predict no genre": simc["floor"]}
    detectors = {"as printed": "", "released code": "official", "corrected": "corrected"}
    f1 = {name: float(np.mean(detection(variant))) for name, variant in detectors.items()}
    text = {"as printed": admc["generated"], "audio seen clean": admc["conditional"], "guess": admc["guess"]}
    parts = (
        ("SIM-C: the printed score", "cell accuracy", cells, 3),
        ("SMCIR: the detector", "F1 of its diagnosis", f1, 2),
        ("ADMC: text from audio", "UA, %", text, 1),
    )
    figure, panels = _panels(PAGE, 1.55, 1, len(parts))
    for panel, (title, label, bars, digits) in zip(panels.flat, parts, strict=True):
        colors = ["0.7" if name in ("predict no genre", "guess") else theme.PALETTE[0] for name in bars]
        rectangles = panel.barh(list(bars), list(bars.values()), color=colors, height=0.62)
        panel.bar_label(rectangles, fmt=f"%.{digits}f", padding=2, size=7)
        panel.invert_yaxis()
        panel.set(title=title, xlabel=label, xlim=(0, 1.22 * max(bars.values())))
        panel.grid(False, axis="y")
    return figure


FROM_ROWS = (smcir_fig3, umdf_fig3, umdf_fig4, umdf_fig5)
FROM_POINTS = (simc_fig1, smcir_fig2, umdf_fig6, admc_fig3)


def draw_all() -> dict[str, Figure]:
    """Every figure by its name, such as "umdf_fig6", from the committed numbers.

    Raises ValueError where a file of points or a column of it is absent, MissingRows where rows are absent.
    """
    figures = {draw.__name__: draw(results(draw.__name__.split("_")[0])) for draw in FROM_ROWS}
    figures |= {"findings": findings()}
    figures |= {draw.__name__: draw(read_points(draw.__name__)) for draw in FROM_POINTS}
    return dict(sorted(figures.items()))


def write(figures: Mapping[str, Figure], folder: Path | str) -> list[Path]:
    """Writes <name>.pdf and <name>.png (300 dpi) of each, the same bytes each time."""
    paths = []
    for name, figure in figures.items():
        for kind, options in {"pdf": {"metadata": {"CreationDate": None}}, "png": {"dpi": 300}}.items():
            paths.append(Path(folder) / f"{name}.{kind}")
            with plt.rc_context(THEME), files.replacing(paths[-1]) as partial:
                figure.savefig(partial, format=kind, **options)
    return paths


def read_points(name: str) -> pd.DataFrame:
    """The points of a figure, such as "umdf_fig6": data/results/figures/<name>.csv. Raises ValueError without that file."""
    path = POINTS / f"{name}.csv"
    if not path.is_file():
        notebook = f"notebooks/{name.split('_')[0]}.ipynb"
        raise ValueError(f"figures: no {path}; a run of {notebook} writes {path.name} into its out_dir: copy it there")
    return pd.read_csv(path)


def _rates(panel: Axes, rows: Rows, dataset: str, metric: str, systems: list[SystemName], alpha: float = 0.15) -> None:
    """A line for each system: a metric against the frame missing rate."""
    for system in systems:
        part = _by_rate(rows, dataset, metric, system)
        style = {"label": _label(" ".join(system).strip()), **_STYLES[system]}
        curves.draw_line(panel, part.index.to_numpy(), part["mean"].to_numpy(), part["std"].to_numpy(), alpha, **style)
    panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))


def _label(name: str) -> str:
    return name.replace("UMDF w/o", "w/o").replace("UMDF cloned", "UMDF, cloned")


def _by_rate(rows: Rows, dataset: str, metric: str, system: SystemName) -> pd.DataFrame:
    """Mean and deviation over seeds at each frame missing rate; mae as it is, all else in percent."""
    conditions = conditions_like(rows, dataset, r"frames\([\d.]+\)")
    values = by_seed(rows, dataset, system, metric, conditions)
    rates = [float(c.removeprefix("frames(").removesuffix(")")) for c in conditions]
    unit = 1 if metric == "mae" else 100
    return pd.DataFrame({"mean": values.mean(), "std": values.std()}).set_axis(rates) * unit


def _diagnosed(rows: Rows, dataset: str, variant: str, modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True share of clips that lack the modality, ascending, and mean and deviation of the share diagnosed."""
    conditions = ["complete", "patterns(keep=text)", "available(text)"]
    shares = by_seed(rows, dataset, ("SMCIR", variant), f"diagnosed_{modality}", conditions)
    # The truth is the same for every detector: taken from the detector that finds something with every seed.
    diagnosed, precision, recall = (
        score(rows, dataset, ("SMCIR", "corrected"), f"{quantity}_{modality}", conditions[1:2])
        for quantity in ("diagnosed", "precision", "recall")
    )
    return np.array([0, (diagnosed * precision / recall).mean(), 1]), shares.mean().to_numpy(), shares.std().to_numpy()


def _panels(width: float, height: float, lines: int, columns: int, **shared) -> tuple[Figure, np.ndarray]:
    figure, panels = plt.subplots(lines, columns, figsize=(width, height), squeeze=False, **shared)
    plt.close(figure)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.03)
    return figure, panels


def _map(panel: Axes, title: str, note: str) -> None:
    """A t-SNE map: its axes have no unit, so no numbers; a frame instead, and below it what was measured."""
    panel.set(xticks=[], yticks=[], title=title)
    panel.set_xlabel(note, size=7)
    panel.spines[:].set_visible(True)


def _legend(figure: Figure, columns: int, **options) -> None:
    """One legend below all panels, of everything that is in any of them."""
    handles = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    options = {"handlelength": 2.6, "columnspacing": 1.2, "labelspacing": 0.3, "borderaxespad": 0.2} | options
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns, **options)
