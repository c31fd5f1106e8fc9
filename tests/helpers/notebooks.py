"""Notebooks and studies that are small enough for a test."""

import nbformat
import yaml

RECORDING = """
from mmlib import runs
from mmlib import synthetic
record = runs.Record("test", globals())
data = synthetic.like("mosi", dim=2, length=2).sample({"train": 4, "valid": 2, "test": 2})
record.of(data, dataset="d", features="f", protocol="p")
record.add({"mae": value}, method=method, condition="p")
record.write()
"""

# Without mmlib, whose imports take the kernel two seconds: for what the engine does, not for what a record holds.
WRITING = """
import json, os
row = {"paper": "test", "dataset": "d", "features": "f", "role": "test", "method": method, "variant": "", "protocol": "p"}
row |= {"condition": "p", "metric": "mae", "seed": seed, "value": value, "flags": ""}
with open(out_dir + "/new", "w") as file:
    json.dump({"run": {"commit": "c", "data": {"fingerprint": "f"}}, "rows": [row]}, file)
os.replace(out_dir + "/new", out_dir + "/record.json")
"""


def notebook(folder, *cells, tag="parameters", name="tiny.ipynb"):
    parameters = nbformat.v4.new_code_cell('value: float = 1.0\nmethod: str = "a"\nseed: int = 0\nout_dir: str = ""')
    parameters.metadata["tags"] = [tag]
    nb = nbformat.v4.new_notebook(cells=[parameters, *map(nbformat.v4.new_code_cell, cells)])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nb, folder / name)
    return folder / name


def study(folder, entries):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(entries, sort_keys=False))
    return path
