"""MM-IMDb (film posters and plots, genres) as its authors distribute it: features in one HDF5 file, or the raw folder.

`dataset` reads multimodal_imdb.hdf5. `manifest` reads the raw folder (split.json, dataset/<id>.json and .jpeg), for an
encoder that makes features.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmlib.corpora import MMIMDB_GENRES
from mmlib.data.dataset import Dataset
from mmlib.names import SPLITS, DataError
from mmlib.releases.hdf5 import Hdf5
from mmlib.releases.sequences import dropped, real_frames, repaired, small_file

NAME = "MM-IMDb"
GENRES = tuple(MMIMDB_GENRES)[:23]
"""The genres of the benchmark, the most frequent first; the benchmark drops the four rarest of the release."""

SIZES = {"train": 15_552, "valid": 2_608, "test": 7_799}
"""Films of each split, which follow one another in the HDF5 file."""

_FILE = "multimodal_imdb.hdf5"
_FEATURES = {
    "text": ("features", 300, "mean of the plot's word2vec vectors (300-d)"),
    "image": ("vgg_features", 4096, "VGG of the poster (4096-d)"),
}
_RAW_SPLITS = {"train": "train", "dev": "valid", "test": "test"}
_SPLIT_BYTES, _FILM_BYTES = 2**24, 2**20


class Manifest(list[dict[str, Any]]):
    """The films of the raw release: id, text or None, image file or None, list of genres, split.

    warnings: the numbers of films that lack something or were dropped.
    """

    def __init__(self, films: list[dict[str, Any]], warnings: list[str]):
        super().__init__(films)
        self.warnings = warnings


def fits(path: str | Path) -> bool:
    """Whether this is the HDF5 file (its name must contain imdb), a folder with it, or the raw folder."""
    file = _features_file(path)
    return bool(re.search(r"imdb.*\.(hdf5|h5)$", file.name, re.IGNORECASE)) and os.path.isfile(file) or _is_raw(path)


def dataset(
    path: str | Path, split: Sequence[str] | np.ndarray | None = None, label_names: Sequence[str] | None = None
) -> Dataset:
    """The features of the HDF5 release: word2vec of the plot as text, VGG of the poster as image; genres multilabel.

    split: train, valid or test for each row, for a file that is not complete.
    label_names: the genre of each column, which the file does not contain. By default, the published number of films of
        each genre names the columns of a complete file; the columns of another file are only numbered.

    A row of zeros is a missing modality; a film without any modality is dropped.

    provenance: file, name, release, features per modality, split_source, repaired (numbers per modality that were NaN or
    infinite and became 0), warnings, licence_note.

    Raises DataError for anything that differs from the release.
    """
    path = _features_file(path)
    if _is_raw(path):
        raise DataError(f"{path}: is the raw release, without features; make them with python -m mmlib.encode")
    with Hdf5(path) as file:
        ids = file.get("imdb_ids", shape=("films",), text=True)
        n = len(ids)
        arrays = {m: file.get(key, shape=(n, width)) for m, (key, width, _) in _FEATURES.items()}
        genres = file.get("genres", shape=(n, len(GENRES)))
        splits = _splits(path, n, split)
        ids, target = file.texts(ids), file.read(genres)
        fixed = {m: repaired(file.read(array)) for m, array in arrays.items()}
    names, warnings = _names(path, target, label_names)

    features = {m: torch.from_numpy(x)[:, None] for m, (x, _) in fixed.items()}
    observed = {m: real_frames(x) for m, x in features.items()}
    warnings += [f"{int((~real).sum())} films have no {m}" for m, real in observed.items() if not real.all()]
    nonempty = torch.cat(list(observed.values()), 1).any(1)
    warnings += dropped(nonempty, "films")
    return Dataset(
        name=NAME,
        task="multilabel",
        features={m: x if nonempty.all() else x[nonempty] for m, x in features.items()},  # indexing copies
        observed={m: f[nonempty] for m, f in observed.items()},
        target=torch.from_numpy(target)[nonempty],
        split=splits[nonempty.numpy()],
        ids=ids[nonempty.numpy()],
        label_names=names,
        provenance={
            "file": str(path),
            "name": NAME,
            "release": NAME,
            "features": {m: text for m, (*_, text) in _FEATURES.items()},
            "split_source": "official row ranges" if split is None else "given by the caller",
            "repaired": {m: count for m, (_, count) in fixed.items()},
            "warnings": warnings,
            "licence_note": "published for research; posters and plots stay with their owners",
        },
    )


def manifest(path: str | Path, plot: int = 0) -> Manifest:
    """The films of the raw release, for an encoder; the genres are the benchmark's 23.

    plot: the number of the plot, from 0, that is the text of a film. A film is one row: one row for each plot would
        multiply films and change every missing rate.

    A missing plot or poster is a missing modality. Films without any of the 23 genres (all films without json, for
    example) or without any modality are dropped. `warnings` counts all of them.

    Raises DataError for anything that differs from the release.
    """
    path = Path(path)
    if plot < 0:
        raise DataError(f"{path}: plot is {plot}; plots are counted from 0")
    films, counts = [], Counter()
    for name, split in _split_ids(path / "split.json"):
        file, image = (path / "dataset" / f"{name}{ending}" for ending in (".json", ".jpeg"))
        entry = _json(file, _FILM_BYTES) if file.exists() else {}
        plots, labels = (_texts(file, entry, key) for key in ("plot", "genres"))
        text = plots[plot] if plot < len(plots) and plots[plot].strip() else None
        image = image if image.is_file() and image.stat().st_size else None
        genres = [genre for genre in GENRES if genre in labels]
        counts["films have no json"] += not file.exists()
        if not genres:
            counts["films without a genre of the benchmark were dropped"] += 1
        elif text is None and image is None:
            counts["films without plot and poster were dropped"] += 1
        else:
            counts["films have no text"] += text is None
            counts["films have no image"] += image is None
            films.append({"id": name, "text": text, "image": image, "genres": genres, "split": split})
    return Manifest(films, [f"{count} {what}" for what, count in counts.items() if count])


def _features_file(path: str | Path) -> Path:
    path = Path(path)
    return path / _FILE if os.path.isfile(path / _FILE) else path


def _is_raw(path: str | Path) -> bool:
    return os.path.isfile(Path(path, "split.json")) and os.path.isdir(Path(path, "dataset"))


def _splits(path: Path, n: int, split: Sequence[str] | np.ndarray | None) -> np.ndarray:
    total = sum(SIZES.values())
    if split is None and n != total:
        raise DataError(f"{path}: has {n} films, expected the release's {total}; pass split= with one of {SPLITS} each")
    split = np.repeat(list(SIZES), list(SIZES.values())) if split is None else np.asarray(split, dtype=str)
    if split.shape != (n,):
        raise DataError(f"{path}: split= has shape {split.shape}, expected ({n},): one name for each film")
    return split


def _names(path: Path, target: np.ndarray, given: Sequence[str] | None) -> tuple[tuple[str, ...], list[str]]:
    """The genre of each column: as given, else by its number of films, else a number and a warning."""
    if given is not None:
        if len(set(given)) != len(GENRES) or len(given) != len(GENRES):
            raise DataError(f"{path}: label_names are {len(given)}, expected {len(GENRES)} different ones")
        return tuple(given), []
    by_count = {MMIMDB_GENRES[genre]: genre for genre in GENRES}
    names = tuple(by_count.get(int(count), "") for count in np.nan_to_num(target).sum(0, dtype=np.float64))
    if set(names) == set(GENRES):
        return names, []
    warning = "the genre columns are only numbered: their counts are not the release's; pass label_names="
    return tuple(f"genre {i}" for i in range(len(GENRES))), [warning]


def _split_ids(file: Path) -> list[tuple[str, str]]:
    """Id and split of every film; only letters and digits are allowed, because ids become file names."""
    entry, films = _json(file, _SPLIT_BYTES), {}
    for key, split in _RAW_SPLITS.items():
        if key not in entry:
            raise DataError(f"{file}: key {key!r}: is missing, expected a list of film ids; get the file again")
        for name in _texts(file, entry, key):
            if not re.fullmatch(r"\w{1,64}", name, re.ASCII):
                raise DataError(f"{file}: key {key!r}: {name!r} is no film id of letters and digits; correct it")
            if name in films:
                raise DataError(f"{file}: key {key!r}: the film {name!r} is also in {films[name]}; keep one")
            films[name] = split
    return list(films.items())


def _json(file: Path, limit: int) -> dict[str, Any]:
    text = small_file(file, limit)
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{file}: is not JSON ({problem}); get the release's file again") from problem
    if not isinstance(entry, dict):
        raise DataError(f"{file}: is a JSON {type(entry).__name__}, expected an object; get the release's file again")
    return entry


def _texts(file: Path, entry: dict[str, Any], key: str) -> list[str]:
    texts = entry.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{file}: key {key!r}: is {str(texts)[:60]}, expected a list of texts; correct it")
    return texts
