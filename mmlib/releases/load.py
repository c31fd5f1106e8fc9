"""`load` recognises the public release at a path and reads it."""

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from mmlib.data import archive
from mmlib.data.dataset import Dataset
from mmlib.files import sha256
from mmlib.names import DataError
from mmlib.releases import mintrec, misa, mmimdb, mmin, mmsa, mult, multibench, safe_pickle
from mmlib.releases.fetch import RELEASES

PICKLES = (mmsa, mult, multibench, misa)  # recognised by their content
_TABLES = (".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet")
FILES = (mmin, mintrec, mmimdb)  # recognised by the names of their files


def load(path: Path | str, **options) -> Dataset:
    """The data set at this path: a feature archive, or a release of MMSA, MulT, MultiBench, MISA, MMIN, MIntRec or
    MM-IMDb.

    options: arguments of the reader, such as fold=2 for MMIN. provenance["release"] names the release. For a pickle,
    provenance["sha256"] is its SHA-256, and "published" is True where its makers published this SHA-256, False where
    they published others or files of other frames or widths, None where they published none. Pickles are read without
    running them (mmlib.releases.safe_pickle).

    Raises DataError where the path does not exist, no reader fits, the reader has no such option, or the file differs from
    the release.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: there is nothing; python -m mmlib.releases.fetch says where to get each release")
    for reader in FILES:
        if reader.fits(path):
            return _announced(_read(reader.dataset, path, options, path), reader.NAME)
    if (path / "train.pkl").is_file():  # a folder of MISA, whose reader finds the other files
        path /= "train.pkl"
    if path.is_dir():
        raise DataError(f"{path}: is a folder of none of the releases {', '.join(r.NAME for r in FILES)}")
    if path.suffix in _TABLES:
        remedy = f"python -m mmlib.encode {path} --out FILE.npz makes features of the files that it names"
        raise DataError(f"{path}: is a table; {remedy}, and mmlib.Dataset.from_arrays takes numbers")
    with open(path, "rb") as file:
        head = file.read(4)
    if head[:2] == b"PK":
        return _announced(_read(archive.read, path, options, path), "feature archive")
    content = safe_pickle.load(path)
    for reader in PICKLES:
        if reader.fits(content):
            data = _read(reader.dataset, path, options, content, path)
            data.provenance["sha256"] = sha256(path)
            hashes = [r.sha256 for name, r in RELEASES.items() if name.startswith(reader.NAME.lower()) and r.sha256]
            data.provenance.setdefault("published", data.provenance["sha256"] in hashes if hashes else None)
            return _announced(data, reader.NAME)
    keys = f"keys {', '.join(map(repr, list(content)[:8]))}" if isinstance(content, dict) else type(content).__name__
    names = ", ".join(r.NAME for r in PICKLES)
    remedy = "make a Dataset of its arrays and store that with mmlib.data.write"
    raise DataError(f"{path}: is a pickle with {keys}, which is none of the releases {names}; {remedy}")


def _read(reader: Callable[..., Dataset], path: Path, options: dict[str, Any], *source: Any) -> Dataset:
    takes = list(signature(reader).parameters)[len(source) :]
    for name in options:
        if name not in takes:
            raise DataError(f"{path}: its reader has no option {name!r}; it has {', '.join(takes) or 'none'}")
    return reader(*source, **options)


def _announced(data: Dataset, release: str) -> Dataset:
    data.provenance["release"] = release
    other = ", not a file as published" if data.provenance.get("published") is False else ""
    print(f"{data.where}: {release}{other}, {len(data)} rows, {', '.join(data.modalities)}")
    return data
