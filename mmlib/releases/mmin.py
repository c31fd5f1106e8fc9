"""IEMOCAP as MMIN distributes it (four emotions, ten folds): features by utterance, labels by fold.

The folder holds A/comparE.h5, A/comparE_mean_std.h5, V/denseface.h5, L/bert_large.h5 and, for each fold,
target/<fold>/{trn,val,tst}_label.npy and _int2name.npy.
"""

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from mmlib.corpora import IEMOCAP_EMOTIONS
from mmlib.data.dataset import Dataset
from mmlib.names import DataError
from mmlib.releases import hdf5
from mmlib.releases.hdf5 import Hdf5
from mmlib.releases.sequences import cannot_open, dropped, repaired_rows, stacked

NAME = "MMIN"
LABELS = IEMOCAP_EMOTIONS
"""Utterances of each class in the complete release, in the order of the one-hot labels."""

_UTTERANCES = sum(LABELS.values())
_FILES = {
    "text": ("L/bert_large.h5", 1024, "hidden states of BERT large, one frame for each word piece (1024-d)"),
    "audio": ("A/comparE.h5", 130, "openSMILE ComParE low-level descriptors (130-d)"),
    "vision": ("V/denseface.h5", 342, "DenseNet facial expression features (342-d)"),
}
_MEAN_STD = "A/comparE_mean_std.h5"
_SPLITS = {"trn": "train", "val": "valid", "tst": "test"}
_ID = re.compile(r"((Ses\d\d)[FM]_\w+)_([FM])[A-Z]*(\d{1,6})", re.ASCII)


def fits(path: str | Path) -> bool:
    """Whether this is a folder with MMIN's files."""
    return os.path.isdir(Path(path, "target")) and all(os.path.isfile(Path(path, file)) for file, *_ in _FILES.values())


def dataset(
    path: str | Path, fold: int = 1, normalise: bool = True, label_names: Sequence[str] = tuple(LABELS)
) -> Dataset:
    """The splits of one fold.

    normalise: audio minus the mean of the fold, divided by its standard deviation, as in MMIN's loader; the release has a
        file with both.
    label_names: the class of each column of the labels, which the release does not contain. If it is complete, the
        published number of utterances of each class is the check.

    group is the dialogue; order is the number in the id, which counts the utterances of one speaker. If a file lacks an
    utterance or has only zeros for it, the utterance has no such modality; one without any modality is dropped.

    provenance: file, name, release, features per modality, split_source, repaired (numbers per modality that were NaN or
    infinite and became 0), warnings, licence_note.

    Raises DataError for anything that differs from the release.
    """
    path, label_names = Path(path), tuple(label_names)
    ids, split, target = _targets(path, fold)
    _check_names(path, target, label_names)
    group, speaker, number = zip(*(_parts(path, fold, i) for i in ids))
    with ExitStack() as stack:
        files = {m: stack.enter_context(Hdf5(path / file)) for m, (file, *_) in _FILES.items()}
        mean, std = _mean_std(path, fold) if normalise else (0.0, 1.0)
        arrays = {m: _arrays(files[m], ids, width) for m, (_, width, _) in _FILES.items()}
        # MMIN writes zeros where it found no face.
        fixed = {m: repaired_rows(None if a is None else files[m].read(a) for a in arrays[m]) for m in _FILES}
    rows = {m: column for m, (column, _) in fixed.items()}
    with np.errstate(all="ignore"):  # the Dataset refuses infinite values
        rows["audio"] = [None if x is None else (x - mean) / std for x in rows["audio"]]

    nonempty, features, observed = stacked(rows, path)
    warnings = dropped(nonempty, "utterances")
    if len(ids) != _UTTERANCES:
        warnings.append(f"fold {fold} has {len(ids)} utterances, the complete release has {_UTTERANCES}")
    return Dataset(
        name="IEMOCAP",
        task="multiclass",
        features=features,
        observed=observed,
        target=torch.from_numpy(target[nonempty]),
        split=split[nonempty],
        ids=ids[nonempty],
        label_names=label_names,
        group=np.array(group)[nonempty],
        order=np.array(number, dtype=np.int32)[nonempty],
        speaker=np.array(speaker)[nonempty],
        provenance={
            "file": str(path),
            "name": "IEMOCAP",
            "release": NAME,
            "features": {
                m: text + (", normalised by the fold's mean and deviation" if normalise and m == "audio" else "")
                for m, (*_, text) in _FILES.items()
            },
            "split_source": f"fold {fold} of MMIN's ten",
            "repaired": {m: count for m, (_, count) in fixed.items()},
            "warnings": warnings,
            "licence_note": "only under an agreement signed with USC; nothing may be passed on",
        },
    )


def _targets(path: Path, fold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, splits and classes of a fold, split after split."""
    folder = path / "target" / str(fold)
    if not folder.is_dir():
        have = sorted(entry.name for entry in folder.parent.glob("*")) or ["none"]
        raise DataError(f"{folder}: there is no such fold; the folds are {', '.join(have)}")
    ids, split, target = [], [], []
    for short, name in _SPLITS.items():
        file = folder / f"{short}_label.npy"
        labels = _npy(file)
        wanted = f"a one-hot row ({len(LABELS)},) for each utterance"
        if labels.dtype.kind not in "fiub" or labels.ndim != 2 or labels.shape[1] != len(LABELS):
            raise DataError(f"{file}: is {labels.dtype} {labels.shape}, expected {wanted}; get the release's file")
        bad = np.flatnonzero(((labels == 1).sum(1) != 1) | ((labels != 0).sum(1) != 1))
        if len(bad):
            raise DataError(f"{file}: row {bad[0]}: is {labels[bad[0]].tolist()}, expected {wanted}; correct it")
        ids.append(_names(folder / f"{short}_int2name.npy", len(labels)))
        split.append(np.full(len(labels), name))
        target.append(np.asarray(labels.argmax(1)))
    return np.concatenate(ids), np.concatenate(split), np.concatenate(target)


def _names(file: Path, n: int) -> np.ndarray:
    names = _npy(file)
    if names.dtype.kind not in "SU" or names.shape not in ((n,), (n, 1)):
        raise DataError(f"{file}: is {names.dtype} {names.shape}, expected ({n},) texts, one for a label; get it again")
    names = np.asarray(names).reshape(-1)
    try:
        return np.char.decode(names, "ascii") if names.dtype.kind == "S" else names
    except UnicodeDecodeError as problem:
        raise DataError(f"{file}: a name is not ASCII ({problem}); get the file again") from problem


def _npy(file: Path) -> np.ndarray:
    """The array, memory-mapped: a false size is an error before memory is allocated, and no object is unpickled."""
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except OSError as problem:
        raise cannot_open(file, problem) from problem
    except Exception as problem:  # numpy raises several types for damaged headers
        raise DataError(f"{file}: is no plain .npy array ({problem}); get the release's file again") from problem


def _parts(path: Path, fold: int, name: str) -> tuple[str, str, int]:
    """Dialogue, speaker and number of an utterance such as Ses01F_impro01_M003."""
    match = _ID.fullmatch(name)
    if match is None:
        folder, example = path / "target" / str(fold), "Ses01F_impro01_F000"
        raise DataError(f"{folder}: {str(name)!r} is no IEMOCAP id such as {example}; get it again")
    dialogue, session, who, number = match.groups()
    return dialogue, f"{session}_{who}", int(number)


def _check_names(path: Path, target: np.ndarray, label_names: tuple[str, ...]) -> None:
    """Compares the names with the counts of the classes, if the release is complete."""
    if len(label_names) != len(LABELS) or len(set(label_names)) != len(LABELS):
        raise DataError(f"{path}: label_names is {label_names}, the labels have {len(LABELS)} columns; name each once")
    counts = np.bincount(target, minlength=len(LABELS)).tolist()
    by_count = {count: name for name, count in LABELS.items()}
    order = tuple(by_count.get(count) for count in counts)
    if set(order) == set(LABELS) == set(label_names) and order != label_names:
        raise DataError(f"{path}: label_names is {label_names}, but the counts of the columns say {order}; pass these")


def _mean_std(path: Path, fold: int) -> tuple[np.ndarray, np.ndarray]:
    with Hdf5(path / _MEAN_STD) as file:
        arrays = [file.get(str(fold), key, shape=(_FILES["audio"][1],)) for key in ("mean", "std")]
        mean, std = map(file.read, arrays)
        if not np.isfinite([mean, std]).all() or (std < 0).any():
            raise file.error("a mean or deviation is NaN, infinite or negative; get the file again", str(fold))
    return mean, np.where(std == 0, np.float32(1), std)


def _arrays(file: Hdf5, ids: np.ndarray, width: int) -> list:
    """Each utterance's array, not loaded. Raises DataError where all of them together would not fit in memory."""
    arrays = [file.find(str(i), shape=("frames", width)) for i in ids]
    longest = max((len(array) for array in arrays if array is not None), default=0)
    if 4 * len(ids) * longest * width > hdf5.MAX_BYTES:
        raise file.error(f"the longest utterance has {longest} frames; {len(ids)} of them: over {hdf5.MAX_BYTES} bytes")
    return arrays
