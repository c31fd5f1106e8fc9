"""The generated part of README.md, written from data/results and data/reported.

    python -m mmlib.report.readme

What stands between `<!-- name -->` and `<!-- /name -->` is replaced, for each name of `BLOCKS`.
"""

from pathlib import Path

from mmlib import files, show
from mmlib.models.overview import table as systems
from mmlib.report.findings import detected_on, findings, generated, simc_cells
from mmlib.report.gains import gained
from mmlib.runs.rows import ROOT

README = ROOT / "README.md"

PANELS = {
    "SIM-C": (
        "the printed F-micro beside the score of predicting nothing",
        "the accuracy that predicting no genre reaches, beside SIM-C's as printed",
    ),
    "SMCIR": (
        "F1 of the detector as printed, as released and corrected",
        "mean over the data sets whose audio or vision has more than one frame; a missing modality is all zeros there, so a "
        "check for zeros finds every one as well",
    ),
    "ADMC": (
        "how well text that is generated from audio is classified",
        "emotions told from text that was generated from audio; with *audio seen clean*, which is not in the paper, the "
        "generator reads the audio without noise and has another weighting of its loss",
    ),
}
"""Panels of figures/findings.png: what they show, and what to know about it."""
GAINS = """
What each method gains where something is missing, in points (MAE in its own unit): positive where the method is better,
**bold** where the interval excludes 0. Its control is the same network without the part that the paper is about: SIM-C with
zeros in place of simulated features, UMDF with one view, ADMC and SMCIR with zeros in place of what they generate. *The best
trivial row*: zeros in place of what is missing, with or without modality dropout, one modality alone, or a guess, whichever is
best on validation; where frames are lost, zero fill with modality and frame dropout.
"""
NOTES = """
± is a 95 % interval over seeds and test rows, with the settings that validation chose; there is none from fewer than three
seeds. Where a paper leaves open, or contradicts, what its gain depends on, validation chooses the reading, too. A data set
counts on a claim about completion where complete rows are better than what is left, and where no label of its validation rows
trained its features. Runs that ended at their limit, or no better than a guess, are left out. There are many intervals here,
and one in twenty misses by chance. [notebooks/results.ipynb](notebooks/results.ipynb) counts them, shows every comparison in
each metric, and says what imputation gains the twenty systems with which the papers compare
([compared](notebooks/compared.ipynb)).
"""
FEATURES = """
**Our features, and often our labels, are not the papers'**, so a number of ours is compared with other numbers of ours. *F1* on
MOSI: of positive against negative sentiment, weighted by class, without neutral clips. *Micro-F1*: F1 of all genres of all
films together. *UA*: the mean over classes of the share of a class that is recognised. *MAE*: mean absolute error; MOSI's
sentiment goes from -3 to 3.
"""


def write(path: Path = README) -> None:
    """Replaces the generated blocks of a README. Raises ValueError, before it writes, where it lacks a mark of one."""
    files.write(path, render(path.read_text()))


def render(text: str) -> str:
    """The text of a README with its generated blocks as they would be written now; ValueError as for `write`."""
    for name, block in BLOCKS.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        before, opened, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            lacking = (end if opened else start).strip()
            raise ValueError(f"README.md lacks the line {lacking}; put it where {name} belong")
        text = f"{before}{start}\n{block()}\n\n{end}{after}"
    return text


def findings_block() -> str:
    """The figure, and for each paper what it claims and what we find, as markdown."""
    table = findings()
    table["paper"] = [f"[{paper}](notebooks/{paper.replace('-', '').lower()}.ipynb)" for paper in table["paper"]]
    return "\n\n".join([_figure(), show.table(table).data, _unwrapped(FEATURES)])


def gains_block() -> str:
    """What the methods gain, as markdown."""
    return "\n\n".join([_unwrapped(GAINS), show.table(gained()).data, _unwrapped(NOTES)])


def _figure() -> str:
    """The figure with what is seen on it, of the panels that have rows."""
    drawn = {"SIM-C": simc_cells(), "SMCIR": detected_on(), "ADMC": generated()}
    panels = [(paper, *PANELS[paper]) for paper, rows in drawn.items() if rows]
    seen = " ".join(f"{paper}: {shown}." for paper, shown, _ in panels)
    notes = " ".join(f"{paper}: {note}." for paper, _, note in panels)
    return f"![{seen}](figures/findings.png)\n\n{notes}"


def systems_block() -> str:
    """What each system takes, needs and costs, as markdown."""
    table = systems().reset_index()
    table["parameters"] = [f"{count:,}" for count in table["parameters"]]
    note = "Stages and parameters: with the defaults for 200 rows of text, audio and vision, 32 numbers wide."
    return "\n\n".join([show.table(table).data, note])


BLOCKS = {"findings": findings_block, "gains": gains_block, "systems": systems_block}


def _unwrapped(text: str) -> str:
    """Each paragraph on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


if __name__ == "__main__":
    write()
