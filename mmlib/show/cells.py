"""Outputs of notebook cells as markdown: source code and tables."""

import inspect
import re
import textwrap
from typing import Any

import pandas as pd
import torch
from IPython.display import Markdown


def source(obj: Any) -> Markdown:
    """The source code of a function, method or class, as in its file, below a line with the file and the name.

    Raises TypeError for an object that is not written in Python.
    """
    try:
        text, module, name = inspect.getsource(obj), inspect.getmodule(obj), obj.__qualname__
    except (TypeError, OSError, AttributeError) as error:
        kind = type(obj).__name__
        raise TypeError(f"show.source: needs a function, method or class written in Python, got {kind}") from error
    # No line number: each edit above would change it and make the notebook's stored output stale.
    path = module.__name__.replace(".", "/") + ("/__init__.py" if hasattr(module, "__path__") else ".py")
    code = f"*`{path} · {name}`*\n\n```python\n{textwrap.dedent(text).rstrip()}\n```"
    # Without its own font, nbconvert's HTML sets the code of an output in the font of the text around it.
    return Markdown(f'<div style="font-family: monospace">\n\n{code}\n\n</div>')


def check(name: str, by_code: Any, by_hand: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Prints the first numbers of both, then compares all of them; AssertionError where they differ.

    by_code, by_hand: tensors, numbers or lists. rtol, atol: of `torch.testing.assert_close`.
    """
    by_code, by_hand = (torch.as_tensor(x).detach() for x in (by_code, by_hand))
    for origin, x in (("code", by_code), ("hand", by_hand)):
        print(f"{name}, by {origin}:", [round(v, 4) + 0 for v in x.flatten()[:4].tolist()])
    torch.testing.assert_close(by_code.float(), by_hand.float(), rtol=rtol, atol=atol)


_NUMBER = re.compile(r"–$|\**[+−-]?[\d.,]+(?!\w)")


def table(frame: pd.DataFrame, caption: str = "", digits: int = 3) -> Markdown:
    """A markdown table: floats to `digits` decimals, NaN as –, an index only if it has a name.

    Columns of numbers, also of such as '0.93 ± 0.01', are right-aligned. A column's name may break after each underscore.
    """
    flat = frame if set(frame.index.names) == {None} else frame.reset_index()
    names = [label if isinstance(label, tuple) else (label,) for label in flat.columns]
    header = [" · ".join(_cell(part, digits) for part in name if part != "").replace("_", "_<wbr>") for name in names]
    rows = [[_cell(value, digits) for value in row] for row in flat.itertuples(index=False, name=None)]
    numbers = [all(map(_NUMBER.match, column)) for column in zip(*rows)] or [True] * len(header)
    rule = ["---:" if is_number else ":---" for is_number in numbers]
    lines = ["| " + " | ".join(row) + " |" for row in (header, rule, *rows)]
    return Markdown((f"**{caption}**\n\n" if caption else "") + "\n".join(lines))


def _cell(value: Any, digits: int) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "–"
    text = f"{value:z.{digits}f}" if pd.api.types.is_float(value) else str(value)
    return text.replace("|", r"\|").replace("\n", " ")
