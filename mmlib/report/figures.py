"""The papers' figures drawn with our numbers, at the size in which they are printed.

Every function is named after the figure that it redraws and returns a Figure that pyplot no longer holds. Lines come from
the rows of `rows.results`: means over the seeds without a flag with a band of one standard deviation; the legend names the
seeds that are left out, and a panel without rows says so. Maps and clouds of points come from one run each (seed 0): the
files of data/results/figures, which the papers' notebooks write. `draw_all` draws every figure, `write` saves them. The
papers' diagrams of networks show no data and are not redrawn.
"""

import inspect
import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmlib import files
from mmlib.report.findings import DETECTORS, detected_on, detection, generated, simc_cells
from mmlib.report.published import DROPOUT, EMOTIONS, FRAME_DROPOUT, not_run
from mmlib.report.rows import ROOT, MissingRows, Rows, SystemName, by_seed, conditions_like, results, score, unflagged
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
    ("UMDF", "one view"): {"color": theme.PALETTE[1], "marker": "s"},
    ("UMDF", "w/o L_fea"): {"color": theme.PALETTE[1], "marker": "s"},
    ("UMDF", "w/o L_logits"): {"color": theme.PALETTE[2], "marker": "^"},
    ("UMDF", "w/o MCIM"): {"color": theme.PALETTE[3], "marker": "v"},
    ("UMDF", "w/o DFIM"): {"color": theme.PALETTE[4], "marker": "D"},
    ("zero fill", ""): {**_GREY, "ls": (0, (5, 2))},
    (DROPOUT, ""): {**_GREY, "ls": (0, (4, 1.5, 1, 1.5))},
    (FRAME_DROPOUT, ""): {**_GREY, "ls": (0, (6, 1.5, 1, 1.5, 1, 1.5))},
    ("prior", ""): {**_GREY, "ls": (0, (1, 1.5))},
    ("oracle", ""): {"color": "black", "lw": 0.8, "zorder": 1.9},
}
_UMDF, _CONTROL, *_ABLATIONS = [system for system in _STYLES if system[0] == "UMDF"]
_PRIOR, _ORACLE = ("prior", ""), ("oracle", "")
_BASELINES = [("zero fill", ""), (DROPOUT, ""), (FRAME_DROPOUT, ""), _PRIOR]
_WORDS = {"mosi_words": "(a) MOSI, static words", "mosi_mpnet": "(b) MOSI, hidden after encoding"}
SETS = {
    "smcir_fig3": {"mmmo": "(a) ICT-MMMO", "synthetic reviews": "(b) synthetic"},
    "umdf_fig3": _WORDS | {"synthetic reviews": "(c) synthetic"},
    "umdf_fig4": {"iemocap_mpnet, one vs rest": ""},
    "umdf_fig5": _WORDS,
}
"""The figures that are drawn from rows: our data sets, and the title of each one's panel."""


@plt.rc_context(THEME)
def simc_fig1(points: pd.DataFrame) -> Figure:
    """SIM-C, Figure 1: t-SNE of real and imputed embeddings of test films under complex_20_40_40.

    points: columns as of `show.embedding_points`. Below each map stands a number that the paper does not have: the
    balanced accuracy with which a linear classifier tells real from imputed embeddings. Differs: films of `mmimdb_subset`,
    posters through EfficientNet-lite0 and plots through MiniLM instead of CLIP; SIM-C alone, with the settings that were
    chosen on validation.
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

    points: columns as of `show.agreement_points`. Colour is the true value; the dashed line is a perfect prediction. In each
    panel: mean absolute error and slope of the least-squares line. Differs: the methods (SMCIR as printed and corrected, zero
    fill with modality dropout) and the clips, which are synthetic reviews of study smcir_synthetic: data on which audio and
    vision matter given the text.
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
        bottom.set(xlabel="true value", xticks=range(-4, 5, 2), yticks=range(-4, 5, 2))
    return figure


@plt.rc_context(THEME)
def smcir_fig3(rows: pd.DataFrame) -> Figure:
    """SMCIR, Figure 3: the share of test clips in which the detector misses a modality, against the share that lacks it.

    rows: of `results("smcir")`. A detector that is right lies on the broad line. The true share is 0 for complete clips,
    1 for text alone, and about a half where modalities are missing at random; there it follows from the rows as share
    diagnosed times precision, over recall. Differs: the paper draws the share diagnosed without the true share; clips of
    ICT-MMMO and synthetic ones, because only sequences have what the detector reads; the detector as printed, of the
    released code, and corrected.
    """
    sets = _with_rows("smcir_fig3", rows)
    figure, panels = _panels(PAGE, 2.5, 1, len(sets), sharex=True, sharey=True)
    for panel, (dataset, title) in zip(panels.flat, sets.items(), strict=True):
        for k, (name, variant) in enumerate(DETECTORS.items()):
            for m, marker, dashes in (("audio", "os^"[k], "-"), ("vision", "DvP"[k], (0, (3, 1)))):
                style = {"color": theme.PALETTE[k], "marker": marker, "ls": dashes, "label": f"{name}, {m}"}
                try:
                    curves.draw_line(panel, *_diagnosed(unflagged(rows), dataset, variant, m), **style)
                except MissingRows:
                    continue
        if panel.lines:
            panel.plot([0, 1], [0, 1], label="true share", color="0.85", lw=5, zorder=1, solid_capstyle="butt")
        else:
            _say_empty(panel)
        panel.set(title=title, xlabel="share of clips that lack it")
        panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    panels[0, 0].set(ylabel="share diagnosed missing", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    _legend(figure, 4, title=_left_out(rows, "smcir_fig3", [("SMCIR", v) for v in DETECTORS.values()]))
    return figure


@plt.rc_context(THEME)
def umdf_fig3(rows: pd.DataFrame) -> Figure:
    """UMDF, Figure 3: mean absolute error and F1 against the frame missing rate p.

    rows: of `results("umdf")`. Differs: clips of MOSI as static words (a), where a word
    that is hidden is gone, as with the paper's GloVe; as contextual tokens that are hidden after encoding (b), which is
    easier, because a token tells of its hidden neighbours; synthetic clips with their oracle (c) in place of MOSEI. UMDF is
    compared with its network on one view without distillation and with baselines, not with published methods.
    """
    sets = _with_rows("umdf_fig3", rows)
    systems = [_UMDF, _CONTROL, *_BASELINES]
    figure, panels = _panels(PAGE, 4.2, 2, len(sets), sharex=True)
    for column, (dataset, title) in zip(panels.T, sets.items(), strict=True):
        here = [*systems, _ORACLE] if dataset.startswith("synthetic") else systems
        _rates(column[0], rows, dataset, "mae", here)
        _rates(column[1], rows, dataset, "f1_non0", here)
        column[0].set_title(title)
        column[1].set_xlabel("frame missing rate p")
    panels[0, 0].set_ylabel("MAE")
    panels[1, 0].set_ylabel("F1 (%)")
    _legend(figure, 3, title=_left_out(rows, "umdf_fig3", systems))
    return figure


@plt.rc_context(THEME)
def umdf_fig4(rows: pd.DataFrame) -> Figure:
    """UMDF, Figure 4: F1 of happy, sad, angry and neutral of IEMOCAP against the frame missing rate p.

    rows: of `results("umdf")`. Differs: text as MPNet sentence vector and audio as GeMAPS statistics, no video, so a
    frame that is lost is a modality that is lost; the systems as in `umdf_fig3`.
    """
    systems = [_UMDF, _CONTROL, *_BASELINES]
    figure, panels = _panels(PAGE, 2.2, 1, len(EMOTIONS), sharex=True, sharey=True)
    for panel, (emotion, number) in zip(panels.flat, EMOTIONS.items(), strict=True):
        (dataset,) = SETS["umdf_fig4"]
        _rates(panel, rows, dataset, f"f1_{number}", systems)
        panel.set(title=emotion, xlabel="frame missing rate p")
    panels[0, 0].set_ylabel("F1 (%)")
    _legend(figure, 5, title=_left_out(rows, "umdf_fig4", systems))
    return figure


@plt.rc_context(THEME)
def umdf_fig5(rows: pd.DataFrame) -> Figure:
    """UMDF, Figure 5: ablations against the frame missing rate p, on clips of MOSI.

    rows: of `results("umdf")`. Differs: static words (a); contextual tokens that are hidden after encoding (b), which tell
    of their hidden neighbours; two baselines are drawn, too.
    """
    systems, sets = [_UMDF, *_ABLATIONS, *_BASELINES[:3]], _with_rows("umdf_fig5", rows)
    figure, panels = _panels(PAGE, 4.2, 2, len(sets), sharex=True)
    for column, (dataset, title) in zip(panels.T, sets.items(), strict=True):
        for panel, metric in zip(column, ("mae", "f1_non0"), strict=True):
            _rates(panel, rows, dataset, metric, systems, alpha=0.08)
            marked = [line for line in panel.lines if line.get_marker() != "None"]
            for k, line in enumerate(marked):
                step = min(5, len(line.get_xdata()) // 2)
                line.set_markevery((k % step, step))  # the lines overlap: with markers in turn each can be seen
            _note_prior(panel, rows, dataset, metric)
        column[0].set_title(title)
        column[1].set_xlabel("frame missing rate p")
    panels[0, 0].set_ylabel("MAE")
    panels[1, 0].set_ylabel("F1 (%)")
    _legend(figure, 4, title=_left_out(rows, "umdf_fig5", systems))
    return figure


def _with_rows(figure: str, rows: Rows) -> dict[str, str]:
    """The data sets of a figure that have rows, and their titles; all of them where none has."""
    there = set(rows["dataset"])
    return {dataset: title for dataset, title in SETS[figure].items() if dataset in there} or SETS[figure]


def _note_prior(panel: Axes, rows: Rows, dataset: str, metric: str) -> None:
    """The prior is far from the other lines: drawn as a line, it would press them together."""
    try:
        guess = _by_rate(unflagged(rows), dataset, metric, _PRIOR)["mean"].iloc[0]
    except MissingRows:
        return
    high, low = f"prior: {guess:.2f} \N{UPWARDS ARROW}", f"prior: {guess:.1f} \N{DOWNWARDS ARROW}"
    at = {"s": high, "y": 0.95, "va": "top"} if metric == "mae" else {"s": low, "y": 0.05, "va": "bottom"}
    panel.text(0.03, size=7, color="0.35", transform=panel.transAxes, **at)


@plt.rc_context(THEME)
def umdf_fig6(points: pd.DataFrame) -> Figure:
    """UMDF, Figure 6: t-SNE of joint representations of MOSI's test clips, text alone with half of its frames lost.

    points: columns as of `show.representation_points`. Below each map: the balanced accuracy with which a linear classifier
    tells negative from positive in the representation itself. Differs: static word pieces; the methods; orange, blue and grey
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
    """Findings of ours as bars, for the README: what a printed metric, a detector and generated features are worth.

    A panel without rows is left out.
    """
    places = detected_on()
    f1 = {name: float(np.mean([detection(d, v) for d in places])) for name, v in DETECTORS.items()} if places else {}
    f1 = {name: value for name, value in f1.items() if np.isfinite(value)}
    parts = (
        ("SIM-C: the printed score", "cell accuracy", simc_cells(), 3),
        ("SMCIR: the detector", "F1 of its diagnosis", f1, 2),
        ("ADMC: text from audio", "UA, %", generated(), 1),
    )
    parts = [part for part in parts if part[2]]
    figure, panels = _panels(PAGE, 1.55, 1, len(parts))
    for panel, (title, label, bars, digits) in zip(panels.flat, parts, strict=True):
        panel.set(title=title, xlabel=label)
        panel.grid(False, axis="y")
        colors = ["0.7" if name in ("predict no genre", "guess") else theme.PALETTE[0] for name in bars]
        rectangles = panel.barh(list(bars), list(bars.values()), color=colors, height=0.62)
        panel.bar_label(rectangles, fmt=f"%.{digits}f", padding=2, size=7)
        panel.invert_yaxis()
        panel.set_xlim(0, 1.22 * max(bars.values()))
    return figure


FROM_ROWS = (smcir_fig3, umdf_fig3, umdf_fig4, umdf_fig5)
FROM_POINTS = (simc_fig1, smcir_fig2, umdf_fig6, admc_fig3)


def draw_all() -> tuple[dict[str, Figure], dict[str, str]]:
    """The figures by name, such as "umdf_fig6", from the committed numbers; and why others are left out."""
    figures, left_out = {"findings": findings()}, {}
    for draw in (*FROM_ROWS, *FROM_POINTS):
        name = draw.__name__
        if why := _lacking(name):
            left_out[name] = why
        else:
            figures[name] = draw(results(name.split("_")[0]) if name in SETS else read_points(name))
    return dict(sorted(figures.items())), left_out


def empty_panels() -> dict[str, list[str]]:
    """Figure -> its data sets without rows, which have no panel."""
    lacking = {name: [d for d in sets if not_run(name.split("_")[0], d)] for name, sets in SETS.items()}
    return {name: datasets for name, datasets in lacking.items() if datasets}


def show_figure(paper: str, number: str) -> None:
    """Displays a figure below its caption, or why it is left out. KeyError for no such figure."""
    from IPython.display import Markdown, display

    name = f"{paper}_fig{number}"
    draw = {f.__name__: f for f in (*FROM_ROWS, *FROM_POINTS)}[name]
    title, _, rest = inspect.getdoc(draw).partition("\n\n")
    if why := _lacking(name):
        display(Markdown(f"{title} {why}"))
        return
    note = " ".join(rest.split()).partition(". ")[2]  # behind the argument
    note += (
        f" Without rows yet, and so without a panel: {', '.join(empty)}." if (empty := empty_panels().get(name)) else ""
    )
    display(Markdown(f"**{title}** {note}"), draw(results(paper) if name in SETS else read_points(name)))


def _lacking(name: str) -> str:
    """Why a figure cannot be drawn; empty where it can."""
    paper = name.split("_")[0]
    if name in SETS:
        reasons = [not_run(paper, dataset) for dataset in SETS[name]]
        return "; ".join(reasons) if all(reasons) else ""
    try:
        read_points(name)
    except ValueError as error:
        return str(error)
    return ""


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
        raise ValueError(
            f"no data/results/figures/{path.name}; a run of {notebook} writes it into its out_dir: copy it there"
        )
    return pd.read_csv(path)


def _rates(panel: Axes, rows: Rows, dataset: str, metric: str, systems: list[SystemName], alpha: float = 0.15) -> None:
    """A line for each system that was run: a metric against the frame missing rate."""
    for system in systems:
        try:
            part = _by_rate(unflagged(rows), dataset, metric, system)
        except MissingRows:
            continue
        style = {"label": _label(" ".join(system).strip()), **_STYLES[system]}
        curves.draw_line(panel, part.index.to_numpy(), part["mean"].to_numpy(), part["std"].to_numpy(), alpha, **style)
    if not panel.lines:
        _say_empty(panel)
    panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))


def _say_empty(panel: Axes) -> None:
    panel.text(0.5, 0.5, "not run yet", size=7, color="0.45", ha="center", va="center", transform=panel.transAxes)


def _left_out(rows: Rows, figure: str, systems: list[SystemName]) -> str:
    """The seeds that are not drawn because they have a flag."""
    notes = []
    for dataset, title in SETS[figure].items():
        here = rows[(rows["dataset"] == dataset) & (rows["flags"] != "")]
        for (method, variant), part in here.groupby(["method", "variant"], sort=False):
            if (method, variant) in systems:
                seeds = sorted(part["seed"].unique())
                name, which = _label(f"{method} {variant}".strip()), "seed" if len(seeds) == 1 else "seeds"
                notes.append(f"{title[:3]} {name}, {which} {', '.join(map(str, seeds))}".strip())
    return textwrap.fill(f"Left out for flags: {'; '.join(notes)}", 115) if notes else ""


def _label(name: str) -> str:
    return name.replace("UMDF w/o", "w/o").replace("UMDF one", "UMDF, one")


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
    if not handles:
        return
    options = {"handlelength": 2.6, "columnspacing": 1.2, "labelspacing": 0.3, "borderaxespad": 0.2} | options
    options["title_fontsize"] = 7
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns, **options)
