"""Downloads that are checked by SHA-256 and continued after a break, and where a person gets all other releases.

python -m mmlib.releases.fetch NAME
"""

import argparse
import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pandas as pd
import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from mmlib import files
from mmlib.names import DataError

_TRIES = 5
_PAUSE = 1.0  # seconds between two tries
_CHUNK_BYTES = 2**18

_CMU = "Carnegie Mellon's own terms for research"
_USC = "only under an agreement signed with USC; nothing may be passed on"
_FILMS = "published for research; posters and plots stay with their owners"
_LOAD = "mmlib.releases.load({path!r}) reads it"
_SIGNED = "sign USC's agreement (sail.usc.edu/iemocap); then, "
_ARCHIVE_ORG = (
    "archive.org has {}, but its full address is not known here: the author of the data set gives it in issues 4 and 7 of "
    "github.com/johnarevalo/gmu-mmimdb; fetch(address, folder='data/mmimdb') downloads it; please tell the maintainers "
    "of mmlib the address"
)


class Release(NamedTuple):
    """One file or folder of a public release. Without an address, `how` says where a person gets it."""

    what: str
    terms: str
    file: str  # its place below the data folder
    how: str = ""
    then: str = _LOAD
    address: str = ""
    sha256: str | None = None


def _mmimdb(file: str, what: str, then: str = _LOAD) -> Release:
    return Release(f"MM-IMDb, {what}", _FILMS, f"mmimdb/{file}", _ARCHIVE_ORG.format(file), then)


def _drive(what: str, terms: str, place: str, repository: str, files: str, sha256: str | None = None) -> Release:
    """A release in the drive of a repository. place: below the data folder, where {} stands for the file."""
    how = f"from the Google Drive or Baidu folder that the README of github.com/{repository} names, get {files}"
    return Release(what, terms, place.format(files), _SIGNED + how if terms == _USC else how, sha256=sha256)


def _mmsa(corpus: str, kind: str, sha256: str) -> Release:
    what, file = f"CMU-{corpus}, {kind} features of MMSA", f"{corpus}/Processed/{kind}_50.pkl"
    return _drive(what, _CMU, "mmsa/{}", "thuiar/MMSA", file, sha256)


_MULT, _MULTIBENCH = "yaohungt/Multimodal-Transformer", "pliang279/MultiBench"
RELEASES = {
    "mmimdb_raw": _mmimdb(
        "mmimdb.tar.gz", "posters, plots and genres", "unpack it there; python -m mmlib.encode takes the folder"),
    "mmimdb_hdf5": _mmimdb("multimodal_imdb.hdf5", "word2vec and VGG features"),
    "mmimdb_metadata": _mmimdb("metadata.npy", "metadata of the features", "nothing here reads it"),
    # The SHA-256 are those of MMSA's own README (PyPI MMSA 2.2.1).
    "mmsa_mosi_aligned": _mmsa("MOSI", "aligned", "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9"),
    "mmsa_mosi_unaligned": _mmsa("MOSI", "unaligned", "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524"),
    "mmsa_mosei_aligned": _mmsa("MOSEI", "aligned", "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791"),
    "mmsa_mosei_unaligned": _mmsa("MOSEI", "unaligned", "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f"),
    "mult_mosi": _drive("CMU-MOSI, features of MulT", _CMU, "mult/{}", _MULT, "mosi_data.pkl"),
    "mult_mosei": _drive("CMU-MOSEI, features of MulT", _CMU, "mult/{}", _MULT, "mosei_senti_data.pkl"),
    "mult_iemocap": _drive(
        "IEMOCAP (four yes/no emotions), features of MulT", _USC, "mult/{}", _MULT, "iemocap_data.pkl"),
    "multibench_mosi": _drive("CMU-MOSI, features of MultiBench", _CMU, "multibench/{}", _MULTIBENCH, "mosi_raw.pkl"),
    "multibench_mosei": _drive("CMU-MOSEI, features of MultiBench", _CMU, "multibench/{}", _MULTIBENCH, "mosei_raw.pkl"),
    "mmin_iemocap": _drive(
        "IEMOCAP (four emotions, ten folds), features of MMIN", _USC, "mmin", "AIM3-RUC/MMIN",
        "the folders A, V, L and target"),
    "mintrec": _drive(
        "MIntRec, transcripts and features", "code MIT; the clips are for research only", "mintrec", "thuiar/MIntRec",
        "train.tsv, dev.tsv, test.tsv, audio_data/audio_feats.pkl and video_data/video_feats.pkl"),
    "iemocap": Release(
        "IEMOCAP, the recordings", _USC, "iemocap", _SIGNED + "USC tells you where they are",
        "nothing here reads recordings; features of them are mmin_iemocap and mult_iemocap"),
    "cmu": Release(
        "CMU-MOSI and CMU-MOSEI, the recordings", _CMU, "cmu", "follow the README of github.com/A2Zadeh/CMU-MultimodalSDK",
        "nothing here reads recordings; features of them are those of mmsa, mult and multibench"),
}  # fmt: skip


def fetch(
    name_or_url: str,
    folder: str | Path = "data",
    sha256: str | None = None,
    *,
    filename: str | None = None,
    timeout: float = 60.0,
) -> Path:
    """The path of a release (see `releases`) or of the file at an http(s) address, downloaded if it is not yet there.

    sha256: SHA-256 that the file must have. Without it, the first call writes the file's SHA-256 to <file>.sha256 and
        later calls check against that.
    filename: name of the file (default: the last part of the address).
    timeout: seconds without a byte after which the connection counts as broken.

    A download that was interrupted is continued, if the server still has the same file. The file gets its name only
    when it is complete and has the right SHA-256. Where a server does not say how long the file is, only sha256 shows
    that the download ended too early.

    Raises DataError, with instructions, for a release that a person must get and that is not yet in its place; and for
    a wrong SHA-256, an unknown release, an address without a file, a server that fails, and a name that leaves the folder.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256.lower()):
        raise DataError(f"{name_or_url}: sha256 is {sha256!r}, expected 64 hexadecimal digits")
    address, path = name_or_url, Path(folder)
    if ":" in name_or_url:
        last = unquote(_path_of(address).rpartition("/")[2])
        path /= _safe_name(last if filename is None else filename, address)
    else:
        if name_or_url not in RELEASES:
            names = ", ".join(RELEASES)
            raise DataError(f"{name_or_url!r} is no known release ({names}) and no address; those start with https://")
        release = RELEASES[name_or_url]
        address, path, sha256 = release.address, path / release.file, sha256 or release.sha256
        if filename is not None:
            path = path.with_name(_safe_name(filename, name_or_url))
        if path.is_dir():
            return path
        if not address and not path.exists():
            raise DataError(f"{name_or_url}: {release.what}, {release.terms}: {_instruction(release, path)}")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(path):
                if not path.exists():
                    return _download(address, path, sha256, timeout)
        return _check(path, sha256)
    except OSError as problem:
        reason = problem.strerror or problem
        raise DataError(f"{path}: cannot be read or written ({reason}); choose another folder") from problem


def releases() -> pd.DataFrame:
    """name, what, terms and how (address, or instruction) of each release that `fetch` knows."""
    rows = [(name, r.what, r.terms, r.address or _instruction(r, Path("data", r.file))) for name, r in RELEASES.items()]
    return pd.DataFrame(rows, columns=["name", "what", "terms", "how"])


def _instruction(release: Release, path: Path) -> str:
    return f"{release.how}; its place is {path}; {release.then.format(path=str(path))}"


def _path_of(address: str) -> str:
    try:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.path
    except ValueError:
        pass
    raise DataError(f"{address!r} is no http:// or https:// address; nothing else is opened")


def _safe_name(name: str, origin: str) -> str:
    if not name or name != Path(name).name or name.startswith(".") or "\\" in name or not name.isprintable():
        raise DataError(f"{origin}: {name!r} cannot be the name of a file in the folder; give a plain one as filename")
    return name


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _write_record(path: Path, sha256: str) -> None:
    files.write(_record(path), f"{sha256}  {path.name}\n")  # the format of `sha256sum -c`


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits while another process downloads the same file: both would write to the same unfinished file."""
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with open(lock, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # The process that held the lock before has removed the file, so that another process may hold a new one.
            if not os.fstat(file.fileno()).st_nlink:
                continue
            try:
                yield
            finally:
                lock.unlink()
            return


def _expected(path: Path, sha256: str | None) -> tuple[str | None, str]:
    """The SHA-256 that a file must have, or None, and what to do if it has another."""
    record = _record(path)
    if sha256 is not None:
        return sha256.lower(), "ask the owner which is right"
    if not record.exists():
        return None, ""
    digits = record.read_text(errors="replace").split(" ")[0]
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise DataError(f"{record}: starts with {digits[:80]!r}, expected a SHA-256; remove it to get it again")
    return digits, f"if the owner has published another version, remove {record} too"


def _check(path: Path, sha256: str | None) -> Path:
    expected, remedy = _expected(path, sha256)
    actual = files.sha256(path)
    if expected is None:
        _write_record(path, actual)
    elif actual != expected:
        raise DataError(f"{path}: SHA-256 is {actual}, expected {expected}; remove it and get it again; {remedy}")
    return path


def _download(url: str, path: Path, sha256: str | None, timeout: float) -> Path:
    part = path.with_name(f".{path.name}.part")
    expected, remedy = _expected(path, sha256)
    for tries_left in reversed(range(_TRIES)):
        try:
            _continue(url, part, timeout)
            break
        except DataError:
            raise
        except (requests.RequestException, HTTPError, ValueError) as problem:  # ValueError: a redirect to no address
            if not tries_left or isinstance(problem, ValueError):
                raise DataError(f"{url}: the connection failed ({problem}); call again to continue") from problem
            time.sleep(_PAUSE)
    actual = files.sha256(part)
    if expected not in (None, actual):
        _discard(part)
        raise DataError(f"{url}: SHA-256 of the download is {actual}, expected {expected}; it was removed; {remedy}")
    _write_record(path, actual)
    os.replace(part, path)
    _discard(part)
    return path


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state(part).unlink(missing_ok=True)


def _state(part: Path) -> Path:
    return part.with_suffix(".json")


def _continue(url: str, part: Path, timeout: float) -> None:
    """One connection: adds what is missing to the unfinished file, or starts it again."""
    size, validator = _unfinished(part, url)
    headers = {"Accept-Encoding": "identity"}  # a range counts the bytes that are sent: they must be those of the file
    if validator:
        # The last byte is requested again: a server cannot send the empty range that a complete file lacks.
        headers |= {"Range": f"bytes={size - 1}-", "If-Range": validator}
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        status = response.status_code
        if validator and (status == 416 or status == 206 and not _continues(response, size - 1, validator)):
            _discard(part)
            return _continue(url, part, timeout)
        if status != 200 and not (status == 206 and validator):
            raise DataError(f"{url}: the server answers {status} {response.reason}; check the address, or try later")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DataError(f"{url}: is a web page; open it in a browser and find the address of the file itself")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity" and not part.stem.endswith((".gz", ".tgz")):
            raise DataError(f"{url}: is sent packed by {encoding}, which was not requested; download it in a browser")
        start, total = 0, response.raw.length_remaining
        if status == 206:
            start, total = size - 1, int(response.headers["Content-Range"].rpartition("/")[2])
        size = _receive(response, url, part, start, total)
    if not size or total not in (None, size):
        raise requests.ConnectionError(f"{size} of {total or '?'} bytes came")


def _unfinished(part: Path, url: str) -> tuple[int, str]:
    """Size of the unfinished file of this address, and the header by which the server shows whether it has the same file."""
    try:
        state, size = json.loads(_state(part).read_text()), part.stat().st_size
    except (FileNotFoundError, ValueError):
        return 0, ""
    return (size, state["validator"]) if size and state["url"] == url else (0, "")


def _validator(response: requests.Response) -> str:
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    return "" if validator.startswith("W/") else validator  # weak: equal for files that differ in some bytes


def _continues(response: requests.Response, start: int, validator: str) -> bool:
    """Whether this is the rest of the same file. Some servers know Range but ignore If-Range."""
    rest = re.fullmatch(rf"bytes {start}-\d+/\d{{1,18}}", response.headers.get("Content-Range", ""))
    return rest is not None and _validator(response) in ("", validator)


def _receive(response: requests.Response, url: str, part: Path, start: int, total: int | None) -> int:
    """Writes the body from a position on and returns the size of the file then."""
    part.touch()
    bar = tqdm(desc=part.stem[1:], total=total, initial=start, unit="B", unit_scale=True, leave=False)
    with open(part, "r+b") as file, bar:
        file.truncate(start)
        if not start:  # only now: the validator must not stand beside bytes of an earlier version
            files.write(_state(part), json.dumps({"url": url, "validator": _validator(response)}))
        file.seek(start)
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mmlib.releases.fetch", description=fetch.__doc__.split("\n")[0])
    parser.add_argument("name", nargs="?", help="a release or an address; without one, all releases are listed")
    parser.add_argument("--folder", type=Path, default="data", help="default: data")
    parser.add_argument("--sha256", help="what the file must have")
    options = parser.parse_args(arguments)
    if options.name is None:
        for _, row in releases().iterrows():
            print(f"{row['name']}: {row.what}", f"    terms: {row.terms}", f"    {row.how}\n", sep="\n")
        return 0
    try:
        print(fetch(options.name, options.folder, options.sha256))
    except DataError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
