"""The claims of the four papers on one page."""

import pandas as pd

from mmlib.report.claims import admc, simc, smcir, umdf
from mmlib.report.published import TITLES
from mmlib.report.rows import reported, results

CLAIMS = {"simc": simc.CLAIMS, "umdf": umdf.CLAIMS, "admc": admc.CLAIMS, "smcir": smcir.CLAIMS}


def page(paper: str | None = None) -> pd.DataFrame:
    """One line per claim: paper, claim, where, needs (what a data set must have to vote), verdict, evidence.

    paper: a name or a title of TITLES, 'simc' or 'SIM-C'; by default all papers.
    A claim whose rows are not there cannot be checked. Raises ValueError for another name.
    """
    names = {title: name for name, title in TITLES.items()}
    if paper is not None and names.get(paper, paper) not in CLAIMS:
        raise ValueError(f"no paper {paper!r}; the papers are {', '.join(CLAIMS)}")
    lines = []
    for name in CLAIMS if paper is None else [names.get(paper, paper)]:
        ours, printed = results(name), reported(name)
        for claim in CLAIMS[name]:
            needs = "; ".join(need.text for need in claim.needs)
            lines.append((TITLES[name], claim.text, claim.where, needs, *claim.judged(name, ours, printed)))
    return pd.DataFrame(lines, columns=["paper", "claim", "where", "needs", "verdict", "evidence"])


def verdicts(paper: str):
    """The page of one paper as a Markdown table for a notebook: one line per claim. Errors as for `page`."""
    from mmlib import show

    return show.table(page(paper).drop(columns="paper").set_index("claim"))
