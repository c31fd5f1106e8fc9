"""Raw text, images and audio to a feature archive.

    python -m mmlib.encode FOLDER_OR_CSV --out archive.npz

A CSV manifest has the columns id, label and at least one of text, image, audio and vision (files, relative to the manifest;
video means vision); split (train, valid, test) and group are optional. A folder holds manifest.csv, or the unpacked tar of
MM-IMDb. Features are cached by the content of the text or file and the model's fingerprint, so that a run that was killed
continues.

    python -m mmlib.encode ... --hide 0.5 --seed 0

hides words of the texts before they are encoded. Pictures and sounds are encoded whole: hide parts of them in the files.
"""

import argparse
import hashlib
import importlib
import os
import re
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from mmlib.data.archive import write
from mmlib.data.dataset import Dataset
from mmlib.encode.cache import Cache
from mmlib.encode.encoders import Encoder, clip_encoders, custom, tokens
from mmlib.encode.hide import hidden
from mmlib.encode.manifest import MODALITIES, Manifest, error_at, manifest
from mmlib.files import sha256
from mmlib.names import SPLITS, TASKS, DataError


def encode(
    rows: Manifest,
    encoders: Mapping[str, Encoder],
    *,
    cache: Path | str | None = None,
    batch: int = 64,
    workers: int | None = None,
    half: bool = False,
    name: str | None = None,
    hide: float = 0.0,
    seed: int = 0,
    progress: bool = True,
) -> Dataset:
    """A data set with the features of all rows. A row without any content that can be read is dropped.

    cache: folder for computed features, default ~/.cache/mmlib/encoded. half: features as float16, in memory as well.
    workers: threads that read and decode while the model computes.
    hide: probability with which each word of a text is hidden before the encoder reads it; seed: of these draws. At least
        one word of each text stays. Other modalities are whole. `mmlib.encode.hide` says which words are hidden.

    provenance: features (models, their fingerprints, hidden words), contextual (modalities with contextual encoders),
    warnings (numbers of contents that count as missing and of hidden words), derived (missing contents, with the reason).
    A content counts as missing if it cannot be read, if its features have no frame, NaN or infinity, or if the encoder raises
    for it but not for another.

    Raises DataError for a modality without encoder or without any features, for an encoder that returns wrong shapes, and
    for words to hide where there is no text.
    """
    if batch < 1:
        raise DataError(f"batch is {batch}; it must be at least 1")
    for m in rows.contents:
        if m not in encoders:
            raise error_at(
                rows.where,
                m,
                f"there is no encoder for {m}; give one (--encoder {m}=MODULE:NAME), or take the column out",
            )
    rows, said = hidden(rows, encoders.get("text"), hide, seed) if hide else (rows, "")
    cache = Path.home() / ".cache" / "mmlib" / "encoded" if cache is None else Path(cache)
    lost, features, observed = dict(rows.lost), {}, {}
    for m, contents in rows.contents.items():
        store = Cache(cache / encoders[m].fingerprint)
        todo = [i for i, content in enumerate(contents) if content is not None and (m, i) not in lost]
        with tqdm(total=len(todo), desc=m, unit="row", disable=not progress) as bar:
            keys = _compute(m, rows, todo, encoders[m], store, lost, batch, workers or min(8, os.cpu_count()), bar)
        if not keys:
            reason = next(iter(r for (name, _), r in lost.items() if name == m))
            raise error_at(rows.where, m, f"none of it can be read, the first because: {reason}; correct the files")
        features[m], observed[m] = store.collect(keys, len(contents), torch.float16 if half else torch.float32)
    return _dataset(name or Path(rows.where).stem, rows, encoders, features, observed, lost, said)


def _compute(
    m: str,
    rows: Manifest,
    todo: list[int],
    encoder: Encoder,
    store: Cache,
    lost: dict[tuple[str, int], str],
    batch: int,
    workers: int,
    bar: tqdm,
) -> dict[int, bytes]:
    """Fills the cache and returns the key of each row in it. Adds to `lost` the contents that have no features."""
    contents = rows.contents[m]
    # Texts of similar length share a batch, the longest first. The batches do not depend on the order of the rows.
    order = sorted(todo, key=lambda i: (-len(contents[i]), contents[i]) if m == "text" else (0, str(contents[i])))
    keys: dict[int, bytes] = {}
    waiting: dict[bytes, Any] = {}
    flaws: dict[bytes, str] = {}  # why a content has no features

    def prepare(i: int) -> tuple[int, bytes, Any, str]:
        content, key, loaded = contents[i], b"", None
        try:
            content = _read(content)
            key = hashlib.sha256(_bytes(content)).digest()
            if key not in store:
                loaded = encoder.load(content)
        except Exception as e:  # Pillow alone raises a dozen types for damaged bytes
            return i, key, None, f"{type(e).__name__}: {e}"
        return i, key, loaded, ""

    def compute() -> None:
        who = f"{rows.where}: field {m!r}: encoder {encoder.name!r}"
        known = [contents[i] for i, key in keys.items() if key in store][:1]
        try:
            results = dict(zip(waiting, _features(encoder, list(waiting.values()), known, who)))
        except Exception as e:
            e.add_note(f"{who} has none of {', '.join(repr(rows.ids[i]) for i, key in keys.items() if key in waiting)}")
            raise
        flaws.update({key: result for key, result in results.items() if isinstance(result, str)})
        if whole := {key: result for key, result in results.items() if key not in flaws}:
            store.add(list(whole), list(whole.values()))
        waiting.clear()

    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for i, key, loaded, reason in _ahead(pool, prepare, order, 2 * batch):
            if reason:
                lost[m, i] = reason
            else:
                keys[i] = key
                if key not in store and key not in flaws:
                    waiting[key] = loaded
            if len(waiting) == batch:
                compute()
            bar.update()
        if waiting:
            compute()
    lost.update({(m, i): flaws[key] for i, key in keys.items() if key in flaws})
    return {i: key for i, key in keys.items() if key not in flaws}


def _bytes(content: bytes | str | tuple[int, ...]) -> bytes:
    """Of a file, a text, or the word pieces that are left of a text."""
    if isinstance(content, tuple):
        return np.array(content, dtype=np.int64).tobytes()
    return content.encode() if isinstance(content, str) else content


def _ahead(pool: ThreadPoolExecutor, work: Callable, items: Iterable, window: int) -> Iterator:
    """The results in order, while threads work on the next `window` items."""
    waiting: deque = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _features(encoder: Encoder, loaded: list, known: list, who: str) -> list[np.ndarray | str]:
    """The features (frames, width) of each loaded content, or the reason why it has none.

    known: contents that have features, not loaded.
    An encoder that raises gets each content alone, and those that it raises for have no features. Its error is raised where
    it fails for all of them and for the known ones, too: the encoder is wrong then, not a content.
    """

    def run(batch: list) -> list[np.ndarray | str]:
        with torch.inference_mode():
            return [_flaw(x) or x for x in _sequences(encoder.run(batch), len(batch), who)]

    try:
        return run(loaded)
    except (DataError, torch.OutOfMemoryError):
        raise
    except Exception:  # an encoder may raise anything
        results, works = [], False
        for batch in [[x] for x in loaded] + [[encoder.load(_read(x))] for x in known]:
            try:
                results += run(batch)
                works = True
            except Exception as e:
                results.append(f"{type(e).__name__}: {e}")
        if not works:
            raise
        return results[: len(loaded)]


def _read(content: Any) -> Any:
    return content.read_bytes() if isinstance(content, Path) else content


def _flaw(x: np.ndarray) -> str:
    if not x.size:
        return "its features have no frame"
    return "" if np.isfinite(x).all() else "its features hold NaN or infinity"


def _sequences(features: Tensor | Sequence[Tensor], n: int, who: str) -> list[np.ndarray]:
    features = features.cpu() if isinstance(features, Tensor) else features  # once, not row by row
    arrays = [torch.atleast_2d(torch.as_tensor(x)).float().cpu().numpy() for x in features]
    if len(arrays) != n or any(x.ndim != 2 for x in arrays):
        shapes = ", ".join(str(x.shape) for x in arrays[:3])
        raise DataError(f"{who} made {len(arrays)} features of {n} contents ({shapes}), expected (frames, width) each")
    return arrays


def _dataset(
    name: str,
    rows: Manifest,
    encoders: Mapping[str, Encoder],
    features: dict[str, Tensor],
    observed: dict[str, Tensor],
    lost: dict[tuple[str, int], str],
    hidden_words: str,
) -> Dataset:
    nonempty = torch.stack([f.any(1) for f in observed.values()]).any(0)
    notes = [f"{m} {_content(rows, m, i)} of {rows.ids[i]!r} counts as missing: {r}" for (m, i), r in lost.items()]
    notes += [f"{rows.ids[i]!r} is dropped: it has no content" for i in range(len(nonempty)) if not nonempty[i]]
    warned = list(rows.warnings)
    for m in features:
        named, unread = sum(c is not None for c in rows.contents[m]), sum(name == m for name, _ in lost)
        if unread:
            warned.append(f"{m}: {unread} of {named} could not be read and count as missing")
    if not nonempty.all():
        warned.append(f"{int((~nonempty).sum())} of {len(nonempty)} rows had no content and were dropped")
    used = {m: encoders[m] for m in features}
    warned += [f"{m}: {e.warning}" for m, e in used.items() if e.warning]
    described = {m: f"{e.name}; fingerprint {e.fingerprint}" for m, e in used.items()}
    if hidden_words:
        described["text"] += f"; {hidden_words}"
        warned.append(f"text: {hidden_words}")
    packages = sorted({e.package for e in used.values()})
    return Dataset(
        name=name,
        task=rows.task,
        features={m: x if nonempty.all() else x[nonempty] for m, x in features.items()},  # indexing copies
        observed={m: f[nonempty] for m, f in observed.items()},
        target=rows.target[nonempty],
        label_names=rows.label_names,
        ids=np.array(rows.ids)[nonempty.numpy()],
        split=np.array(rows.split)[nonempty.numpy()],
        group=None if rows.group is None else np.array(rows.group)[nonempty.numpy()],
        provenance={
            "features": described,
            "contextual": [m for m, e in used.items() if e.contextual],
            "feature_sources": {m: f"{m} of {Path(rows.where).name}" for m in used},
            "warnings": warned,
            "sources": [{"repository": f"PyPI {p}", "commit": version(p), "path": ""} for p in packages],
            "split_source": rows.split_source,
            "derived": notes,
        },
    )


def _content(rows: Manifest, m: str, i: int) -> str:
    content = rows.contents[m][i]
    return repr(str(content.relative_to(rows.folder)) if isinstance(content, Path) else content[:40])


def _custom(spec: str) -> tuple[str, Encoder]:
    """An encoder from the command line: MODALITY=MODULE:NAME, where NAME is an Encoder or a callable."""
    parts = re.fullmatch(rf"({'|'.join(MODALITIES)})=([\w.]+):(\w+)", spec)
    if not parts:
        raise DataError(f"--encoder {spec!r} is not MODALITY=MODULE:NAME with a modality of {', '.join(MODALITIES)}")
    m, name, attribute = parts.groups()
    try:
        module = importlib.import_module(name)
        call = getattr(module, attribute)
    except (ImportError, AttributeError) as e:
        raise DataError(f"--encoder {spec!r}: {e}; name a module that Python finds and something in it") from e
    return m, call if isinstance(call, Encoder) else custom(call, f"{name}:{attribute}", sha256(Path(module.__file__)))


def _encoders(options: argparse.Namespace, needed: Iterable[str]) -> dict[str, Encoder]:
    encoders = {m: e for m, e in map(_custom, options.encoder) if m in needed}
    if options.text_model and "text" in needed:
        encoders["text"] = tokens(options.text_model, options.max_tokens, device=options.device)
    if {"text", "image"} & set(needed) - set(encoders):
        encoders = clip_encoders(options.clip, options.weights, device=options.device) | encoders
    return encoders


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mmlib.encode", description="Raw data to a feature archive.")
    parser.add_argument("source", type=Path, help="a CSV manifest, a folder with manifest.csv, or MM-IMDb's folder")
    parser.add_argument("--out", type=Path, required=True, help="the archive to write (.npz)")
    parser.add_argument("--task", choices=TASKS, help="default: decided by the labels")
    parser.add_argument("--clip", default="ViT-B-32", help="a name of open_clip, or local-dir:FOLDER")
    parser.add_argument("--weights", default="openai", help="of CLIP: a tag of open_clip, or a checkpoint")
    parser.add_argument("--text-model", help="transformers model for token features, instead of CLIP's text vector")
    parser.add_argument("--max-tokens", type=int, default=128, help="of --text-model; longer texts are cut")
    parser.add_argument("--encoder", action="append", default=[], metavar="MODALITY=MODULE:NAME", help="any callable")
    words = "probability with which a word is hidden before encoding; pictures and sounds are encoded whole"
    parser.add_argument("--hide", type=float, default=0.0, metavar="P", help=words)
    parser.add_argument("--seed", type=int, default=0, help="of --hide, as the seed of the protocol frames(P)")
    parser.add_argument("--cache", type=Path, help="folder for computed features (default: ~/.cache/mmlib/encoded)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", help="default: cuda where there is one")
    parser.add_argument("--half", action="store_true", help="features as float16")
    options = parser.parse_args(arguments)
    try:
        if options.out.exists():
            raise DataError(f"{options.out}: exists already; remove it or choose another name")
        rows = manifest(options.source, task=options.task)
        encoders, name = _encoders(options, rows.contents), options.out.stem
        data = encode(
            rows,
            encoders,
            cache=options.cache,
            batch=options.batch,
            half=options.half,
            name=name,
            hide=options.hide,
            seed=options.seed,
        )
        write(data, options.out)
    except (DataError, OSError) as e:
        print(e, file=sys.stderr)
        return 2
    print(f"{options.out}: {data.task}, {', '.join(f'{len(data.rows(split))} {split}' for split in SPLITS)}")
    for m, x in data.features.items():
        print(f"  {m}: {int(data.present[m].sum())} of {len(data)} rows, (T, d) = {tuple(x.shape[1:])}")
    print(*data.provenance["warnings"], *data.provenance["derived"], sep="\n")
    return 0
