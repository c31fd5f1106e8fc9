"""The generated part of README.md, written from data/results and data/reported.

    python -m mmlib.report.readme

What stands between `<!-- name -->` and `<!-- /name -->` is replaced, for each name of `BLOCKS`.
"""

from pathlib import Path

from mmlib import files, show
from mmlib.report.findings import findings
from mmlib.runs import records

README = records.ROOT / "README.md"

FIGURE = """
![Three panels. SIM-C: the printed F-micro beside the score of predicting nothing. SMCIR: F1 of the detector as printed, as
released and corrected. ADMC: how well text that is generated from audio is classified.](figures/findings.png)

*Three findings. Left: the accuracy that predicting no genre reaches, beside SIM-C's as printed. Middle: mean over three data
sets, one of which has a single frame per modality. Right: emotions told from text that was generated from audio; with "audio
seen clean", which is not in the paper, the generator reads the audio without noise and has another weighting of its loss.*
"""
NOTES = """
*F-samples*: F1 between the predicted and the true genres of a film, averaged over films. *Cell accuracy*: the share of right
yes or no answers over all films and genres. *F1* on MOSI: F1 of positive against negative sentiment, weighted by class,
without neutral clips. *UA*: the mean over classes of the share of a class that is recognised. *Oracle*: the exact posterior
of synthetic data, optimal for error and accuracy, not necessarily for F1. *MOSI vectors*: one vector per clip and modality;
the networks that made those of text and video had learned from the labels of training clips. ± is a 95 % interval over
seeds. **Our features, and often our labels, are not the papers'**, so a
number of ours is compared with other numbers of ours. All tables, intervals and verdicts:
[notebooks/results.ipynb](notebooks/results.ipynb).
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
    return "\n\n".join([_unwrapped(FIGURE), show.table(table).data, _unwrapped(NOTES)])


BLOCKS = {"findings": findings_block}


def _unwrapped(text: str) -> str:
    """Each paragraph on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


if __name__ == "__main__":
    write()
