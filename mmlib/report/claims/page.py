"""The claims of the four papers on one page."""

import pandas as pd

from mmlib.report.claims import admc, simc, smcir, umdf
from mmlib.report.claims.verdicts import FAILS_HERE, HOLDS_HERE
from mmlib.report.intervals import survivors
from mmlib.report.published import TITLES
from mmlib.report.rows import reported, results

CLAIMS = {"simc": simc.CLAIMS, "umdf": umdf.CLAIMS, "admc": admc.CLAIMS, "smcir": smcir.CLAIMS}

DECIDED = (HOLDS_HERE, FAILS_HERE)


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
            judged = claim.judged(name, ours, printed)
            lines.append((TITLES[name], claim.text, claim.where, needs, judged.verdict, judged.evidence))
    return pd.DataFrame(lines, columns=["paper", "claim", "where", "needs", "verdict", "evidence"])


def by_chance() -> str:
    """How many of the intervals behind the verdicts exclude 0, how many would by chance, and what is left after Holm's
    correction for all of them together; and the decided claims of which nothing is left."""
    claims = [(name, c, c.judged(name, results(name), reported(name))) for name, cs in CLAIMS.items() for c in cs]
    votes = [(name, claim, d) for name, claim, judged in claims for d in judged.votes]
    kept = survivors([d.p for _, _, d in votes])
    decided = {(name, claim.text) for name, claim, judged in claims if judged.votes and judged.verdict in DECIDED}
    sure = {(name, claim.text) for (name, claim, _), k in zip(votes, kept) if k}
    weak = [f"{TITLES[name]}, *{text.rstrip('.')}*" for name, text in sorted(decided - sure)]
    excluding, expected = sum(d.side != 0 for *_, d in votes), 0.05 * len(votes)
    return (
        f"{len(votes)} intervals stand behind the verdicts that rest on our measurements. {excluding} exclude 0; by chance "
        f"about {expected:.0f} would. {sum(kept)} are left after Holm's correction for all of them. Decided, but with no "
        f"interval that is left: {'; '.join(weak) or 'none'}."
    )


def verdicts(paper: str):
    """The page of one paper as a Markdown table for a notebook: one line per claim. Errors as for `page`."""
    from mmlib import show

    return show.table(page(paper).drop(columns="paper").set_index("claim"))
