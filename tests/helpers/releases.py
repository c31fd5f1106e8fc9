"""The pickled dicts of three releases, with as few rows as a test needs."""

import numpy as np

from mmlib.names import SPLITS

MMSA_WIDTHS = {"MOSI": (5, 20), "MOSEI": (74, 35)}
MMSA_STEPS = {"MOSI": (375, 500), "MOSEI": (500, 500)}
MMSA_ROWS = {"train": 3, "valid": 1, "test": 2}
MULT_SETS = {"MOSI": (50, 300, 5, 20), "MOSEI": (50, 300, 74, 35), "IEMOCAP": (20, 300, 74, 35)}
MULT_SIZES = {"train": 4, "valid": 2, "test": 3}
MULTIBENCH_LENGTHS = {"train": [3, 50, 1], "valid": [7], "test": [2, 20]}


def padded(lengths, steps, width, dtype=np.float32, front=False, split="train"):
    """Rows of these lengths with zeros behind them, or in front of them; (rows, steps, width).

    Column c of frame t in row i holds i + 1 + t / 1000 + c / 10**6, in `valid` 100 more, in `test` 200 more.
    """
    x = np.zeros((len(lengths), steps, width), dtype)
    for i, length in enumerate(lengths):
        real = slice(steps - length, steps) if front else slice(length)
        x[i, real] = 100 * SPLITS.index(split) + i + 1 + np.arange(steps)[real, None] / 1000 + np.arange(width) / 1e6
    return x


def joined(content, field):
    return np.concatenate([content[split][field] for split in SPLITS])


def mmsa(name="MOSI", aligned=False, rows=MMSA_ROWS, steps=None):
    """MMSA's dict. BERT gives features for padding too, so text has values behind its mask."""
    steps = steps or ((50, 50) if aligned else MMSA_STEPS[name])
    content = {}
    for split, n in rows.items():
        words = [4 + 9 * i for i in range(n)]
        bert = np.zeros((n, 3, 50), np.float32)
        for i, length in enumerate(words):
            bert[i, 0, :length] = [101, *range(1000 + i, 998 + i + length), 102]
            bert[i, 1, :length] = 1
        audio, vision = [10 + i for i in range(n)], [steps[1] - i for i in range(n)]
        y = np.linspace(-2.6, 3, n)
        content[split] = {
            "raw_text": np.array(["SO GOOD"] * n, dtype=object),
            "text": padded([50] * n, 50, 768, split=split),
            "text_bert": bert,
            "audio": padded(audio, steps[0], MMSA_WIDTHS[name][0], np.float64, split=split),
            "vision": padded(vision, steps[1], MMSA_WIDTHS[name][1], np.float64, split=split),
            "id": [f"{split}-v_{i // 2}$_${i}" for i in range(n)],
            "regression_labels": y,
            "classification_labels": np.sign(y) + 1,
            "annotations": ["Positive" if value > 0 else "Negative" for value in y],
        }
        if not aligned:
            content[split] |= {"audio_lengths": audio, "vision_lengths": vision}
    return content


def mult(name="MOSI", aligned=True, sizes=MULT_SIZES, lengths=None):
    """MulT's dict: text float32, audio and vision float64, ids bytes in MOSI and texts in MOSEI."""
    steps, *widths = MULT_SETS[name]
    content = {}
    for split, n in sizes.items():
        own = lengths or [1 + 3 * i for i in range(n)]
        long = steps if aligned else 60
        fields = {
            "vision": padded(own, long + (0 if aligned else 7), widths[2], np.float64, front=True, split=split),
            "text": padded(own, steps, widths[0], front=True, split=split),
            "audio": padded(own, long, widths[1], np.float64, front=True, split=split),
        }
        if name == "IEMOCAP":
            answers = np.arange(4 * n).reshape(n, 4) % 3 == 0
            fields["labels"] = np.stack([~answers, answers], 2).astype(np.int64)
        else:
            fields["labels"] = (np.arange(n) - 1.5).reshape(n, 1, 1)
            ids = [[f"{split}video{i // 2}", f"{i}.5", f"{i + 1}.25"] for i in range(n)]
            fields["id"] = np.array(ids, dtype="S" if name == "MOSI" else "U")
        content[split] = fields
    return content


def multibench(labels=(1, 1), ids=np.array, lengths=MULTIBENCH_LENGTHS):
    """MultiBench's dict of mosi_raw.pkl."""
    content = {}
    for split, own in lengths.items():
        fields = {
            m: padded(own, 50, width, np.float32 if m == "text" else np.float64, front=True, split=split)
            for m, width in {"vision": 35, "audio": 74, "text": 300}.items()
        }
        fields["labels"] = np.linspace(-3, 3, len(own)).reshape(-1, *labels)
        fields["id"] = ids([f"{split}_video[{i}]" for i in range(len(own))])
        content[split] = fields
    return content
