"""Words of a text are hidden before an encoder reads it: no feature can tell of them, unlike frames hidden afterwards."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from mmlib.encode.encoders import Encoder
from mmlib.encode.manifest import Manifest, error_at
from mmlib.missing import uniforms
from mmlib.names import DataError


def hidden(rows: Manifest, encoder: Encoder | None, rate: float, seed: int) -> tuple[Manifest, str]:
    """The rows with texts from which words are taken out, and a sentence about it for the provenance.

    Each word is hidden with probability `rate`, but one of each text stays: the one with the largest random number. The
    numbers are those of the protocol frames(rate), so that it hides the same words where frames are words; but there a text
    can lose its last word if the row has something else. Special tokens of an encoder are no words and stay.

    Raises DataError for a rate outside 0..1 and for rows without a text.
    """
    if not 0 <= rate <= 1:
        raise DataError(f"hide is {rate}; it must be a probability, 0 to 1")
    if "text" not in rows.contents:
        raise error_at(
            rows.where, "text", "there are no words to hide; only texts lose words, pictures and sounds are whole"
        )
    total = lost = 0

    def left(i: int, words: Sequence[bool]) -> Bool[np.ndarray, "frames"]:
        nonlocal total, lost
        words = np.array(words, dtype=bool)
        u = uniforms(seed, rows.split[i], np.array([rows.ids[i]]), "frames", "text", count=len(words))[0]
        stays = (u >= rate) | (u == u[words].max(initial=-1)) | ~words
        total, lost = total + int(words.sum()), lost + int((~stays).sum())
        return stays

    texts = [
        None if text is None else encoder.hide(text, lambda words, i=i: left(i, words))
        for i, text in enumerate(rows.contents["text"])
    ]
    drawn = f"hidden before the encoder, each with probability {rate}, as frames({rate}) draws them from seed {seed}"
    return replace(rows, contents={**rows.contents, "text": texts}), f"{lost} of {total} {encoder.words} were {drawn}"
