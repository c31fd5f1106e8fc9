"""The code of the READMEs does what it says: ten lines to a saved model, scikit-learn's way, a method of one's own."""

import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mmlib
from mmlib import models, synthetic
from mmlib.models import MODELS
from mmlib.training import evaluate, fit, predict

ROOT = Path(mmlib.__file__).parents[1]


def block(file, word):
    found = [code for code in re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(), re.DOTALL) if word in code]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 2))
    image, text = (z[:, i : i + 1] + rng.normal(0, 0.3, (300, 4)) for i in (0, 1))
    image[::5] = np.nan
    return {"image": image, "text": text, "labels": np.where(z.sum(1) > 0, "up", "down"), "new_text": text[:7]}


def test_ten_lines_from_arrays_to_a_saved_model(rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = block("README.md", "from_arrays")
    assert len(code.strip().splitlines()) <= 10
    exec(code, rows)
    scores, labels = capsys.readouterr().out.strip().splitlines()
    assert float(re.search(r"'accuracy': ([\d.]+)", scores)[1]) > 0.8
    assert re.findall(r"up|down", labels) == models.load("my_model").labels({"text": rows["new_text"]}).tolist()
    # A reload predicts as the system did, on rows as they were read.
    data, system = rows["data"], rows["system"]
    test = data.rows("test")
    raw = {m: torch.as_tensor(rows[m])[test] for m in data.modalities}
    expected = predict(system, data).logits.softmax(1)
    torch.testing.assert_close(models.load("my_model").predict(raw), expected)


def test_scikit_learns_way(rows, capsys):
    table = np.hstack([rows["image"], rows["text"]])
    rows |= {"table": table, "image_columns": range(4), "text_columns": range(4, 8)}
    exec(block("README.md", "cross_val_score"), rows)
    assert all(float(score) > 0.75 for score in re.findall(r"0\.\d+", capsys.readouterr().out))


def test_a_method_of_ones_own(monkeypatch, tmp_path):
    """The skeleton trains, keeps NaN of absent modalities out, is saved and loaded."""
    module = types.ModuleType("mmlib.models.late")
    monkeypatch.setitem(sys.modules, "mmlib.models.late", module)
    exec(block("mmlib/models/README.md", "class Late"), module.__dict__)
    monkeypatch.setitem(MODELS, "late", module.Late)
    data = synthetic.like("iemocap", dim=8, length=4).sample({"train": 300, "valid": 60, "test": 100}, 0)
    system = MODELS["late"].for_data(data, hidden=16)
    fit(system, data, "patterns", epochs=40, lr=3e-3, progress=False)
    assert evaluate(system, data)["ua"] > 0.4, "four classes, a coin has 0.25"
    batch = data.view("test").batch(torch.arange(20)).without("audio")
    poisoned = replace(batch, x=batch.x | {"audio": torch.full_like(batch.x["audio"], torch.nan)})
    assert torch.equal(system.predict(batch).logits, system.predict(poisoned).logits)
    again = models.load(models.save(system, data, tmp_path))
    torch.testing.assert_close(again.predict(data[-100:]), predict(system, data).logits.softmax(1))
