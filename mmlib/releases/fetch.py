"""Downloads that can be trusted and continued, and where to get the releases that no program may download.

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
from urllib.parse import unquote, urljoin, urlsplit

import pandas as pd
import pooch
import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from mmlib.data.checks import DataError

MAX_BYTES = 200 * 2**30

_TRIES = 5
_PAUSE = 1.0  # seconds between two tries
_REDIRECTS = 10
_CHUNK_BYTES = 2**18

_CMU = "Carnegie Mellon's own terms for research"
_USC = "only under an agreement signed with USC; nothing may be passed on"
_FILMS = "published for research; posters and plots stay with their owners"
_LOAD = "mmlib.releases.load({path!r}) reads it"
_README = "from the Google Drive or Baidu folder that the README of github.com/{} names, get {}"
_SIGNED = "sign USC's agreement (sail.usc.edu/iemocap); then, "
_ARCHIVE_ORG = (
    "archive.org has {}, but its full address is not known here: the author of the data set gives it in issues 4 and 7 of "
    "github.com/johnarevalo/gmu-mmimdb; fetch(address, folder='data/mmimdb') downloads it, and please tell the maintainers "
    "of mmlib the address, so that this entry can have it"
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


def _mmsa(file: str, sha256: str) -> Release:
    corpus, *_, name = file.split("/")
    what = f"CMU-{corpus}, {name.partition('_')[0]} features of MMSA"
    return Release(what, _CMU, f"mmsa/{file}", _README.format("thuiar/MMSA", file), sha256=sha256)


def _mult(what: str, terms: str, file: str, before: str = "") -> Release:
    how = before + _README.format("yaohungt/Multimodal-Transformer", file)
    return Release(f"{what}, features of MulT", terms, f"mult/{file}", how)


def _multibench(what: str, file: str) -> Release:
    how = _README.format("pliang279/MultiBench", file)
    return Release(f"{what}, features of MultiBench", _CMU, f"multibench/{file}", how)


RELEASES = {
    "mmimdb_raw": _mmimdb(
        "mmimdb.tar.gz", "posters, plots and genres", "unpack it there; python -m mmlib.encode takes the folder"
    ),
    "mmimdb_hdf5": _mmimdb("multimodal_imdb.hdf5", "word2vec and VGG features"),
    "mmimdb_metadata": _mmimdb("metadata.npy", "metadata of the features", "nothing here reads it"),
    # The SHA-256 are those of MMSA's own README (PyPI MMSA 2.2.1).
    "mmsa_mosi_aligned": _mmsa(
        "MOSI/Processed/aligned_50.pkl", "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9"
    ),
    "mmsa_mosi_unaligned": _mmsa(
        "MOSI/Processed/unaligned_50.pkl", "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524"
    ),
    "mmsa_mosei_aligned": _mmsa(
        "MOSEI/Processed/aligned_50.pkl", "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791"
    ),
    "mmsa_mosei_unaligned": _mmsa(
        "MOSEI/Processed/unaligned_50.pkl", "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f"
    ),
    "mult_mosi": _mult("CMU-MOSI", _CMU, "mosi_data.pkl"),
    "mult_mosei": _mult("CMU-MOSEI", _CMU, "mosei_senti_data.pkl"),
    "mult_iemocap": _mult("IEMOCAP (four yes/no emotions)", _USC, "iemocap_data.pkl", _SIGNED),
    "multibench_mosi": _multibench("CMU-MOSI", "mosi_raw.pkl"),
    "multibench_mosei": _multibench("CMU-MOSEI", "mosei_raw.pkl"),
    "mmin_iemocap": Release(
        "IEMOCAP (four emotions, ten folds), features of MMIN",
        _USC,
        "mmin",
        _SIGNED + _README.format("AIM3-RUC/MMIN", "the folders A, V, L and target"),
    ),
    "mintrec": Release(
        "MIntRec, transcripts and features",
        "code MIT; the clips are for research only",
        "mintrec",
        _README.format(
            "thuiar/MIntRec",
            "train.tsv, dev.tsv, test.tsv, audio_data/audio_feats.pkl and video_data/video_feats.pkl",
        ),
    ),
    "iemocap": Release(
        "IEMOCAP, the recordings",
        _USC,
        "iemocap",
        _SIGNED + "USC tells you where they are",
        "nothing here reads recordings; features of them are mmin_iemocap and mult_iemocap",
    ),
    "cmu": Release(
        "CMU-MOSI and CMU-MOSEI, the recordings",
        _CMU,
        "cmu",
        "follow the README of github.com/A2Zadeh/CMU-MultimodalSDK",
        "nothing here reads recordings; features of them are those of mmsa, mult and multibench",
    ),
}


def fetch(
    name_or_url: str,
    folder: str | Path = "data",
    sha256: str | None = None,
    *,
    filename: str | None = None,
    max_bytes: int = MAX_BYTES,
    timeout: float = 60.0,
) -> Path:
    """A file of a release (see `releases`) or behind an http(s) address, downloaded into the folder unless it is there.

    sha256: what the file must have. Without one, the SHA-256 of the first call is kept beside it as <file>.sha256 and
        later calls check against that.
    filename: instead of the last part of the address.
    timeout: seconds without a byte before the server counts as silent.

    What a broken connection or killed process has left is continued, if the server still has the same file. The file
    gets its name only when it is whole and right. A server that does not say how long the file is can hide that it
    ended early: give sha256 there.

    Raises DataError, with instructions, for a release that a person must get and that is not yet in its place; and for
    a wrong SHA-256, no such file or release, a server that fails, more than max_bytes, a name that leaves the folder.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256.lower()):
        raise DataError(f"{name_or_url}: sha256 is {sha256!r}, expected 64 hexadecimal digits")
    address, path = name_or_url, Path(folder)
    if ":" in name_or_url:
        _http_address(address, address)
        last = unquote(urlsplit(address).path.rpartition("/")[2])
        path /= _safe_name(last if filename is None else filename, address)
    else:
        release = _release(name_or_url)
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
                    return _download(address, path, sha256, max_bytes, timeout)
        return _check(path, sha256)
    except OSError as problem:
        raise DataError(
            f"{path}: cannot be read or written ({problem.strerror or problem}); choose another folder"
        ) from problem


def releases() -> pd.DataFrame:
    """name, what, terms and how (address, or instruction) of each release that `fetch` knows."""
    rows = [(name, r.what, r.terms, r.address or _instruction(r, Path("data", r.file))) for name, r in RELEASES.items()]
    return pd.DataFrame(rows, columns=["name", "what", "terms", "how"])


def _release(name: str) -> Release:
    if name not in RELEASES:
        known = ", ".join(RELEASES)
        raise DataError(f"{name!r} is no known release ({known}) and no address; an address starts with https://")
    return RELEASES[name]


def _instruction(release: Release, path: Path) -> str:
    return f"{release.how}; its place is {path}; {release.then.format(path=str(path))}"


def _http_address(address: str, origin: str) -> str:
    """The address, relative to the one that it came from."""
    try:
        given, target = urlsplit(address), urljoin(origin, address)
        parts = urlsplit(target)
        fits = not given.scheme or given.hostname  # without, urljoin lends it the host of the origin
        fits = fits and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise DataError(f"{origin}: {address!r} is no http:// or https:// address; nothing else is opened")
    return target


def _safe_name(name: str, origin: str) -> str:
    if not name or name != Path(name).name or name.startswith(".") or "\\" in name or not name.isprintable():
        raise DataError(f"{origin}: {name!r} cannot be the name of a file in the folder; give a plain one as filename")
    return name


def _hidden(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{suffix}")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _write_record(path: Path, sha256: str) -> None:
    _record(path).write_text(f"{sha256}  {path.name}\n")  # as `sha256sum -c` wants it


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits while another process downloads the same file: two that write to one unfinished file would spoil it."""
    lock = _hidden(path, "lock")
    while True:
        with open(lock, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held it before has removed it, so that another process may hold a new one by now.
            if not os.fstat(file.fileno()).st_nlink:
                continue
            try:
                yield
            finally:
                lock.unlink()
            return


def _expected(path: Path, sha256: str | None) -> tuple[str | None, str]:
    """The SHA-256 that a file must have, if any, and a remedy in case that it has another."""
    record = _record(path)
    if sha256 is not None:
        return sha256.lower(), "ask the owner which is right"
    if not record.exists():
        return None, ""
    found = record.read_text(errors="replace").split(" ")[0]
    if not re.fullmatch("[0-9a-f]{64}", found):
        raise DataError(f"{record}: starts with {found[:80]!r}, expected a SHA-256; remove it to have it written again")
    return found, f"if the owner has published another version, remove {record} too"


def _check(path: Path, sha256: str | None) -> Path:
    expected, remedy = _expected(path, sha256)
    found = pooch.file_hash(path)
    if expected is None:
        _write_record(path, found)
    elif found != expected:
        raise DataError(f"{path}: SHA-256 is {found}, expected {expected}; remove it and get it again; {remedy}")
    return path


def _download(url: str, path: Path, sha256: str | None, limit: int, timeout: float) -> Path:
    part = _hidden(path, "part")
    expected, remedy = _expected(path, sha256)
    for left in reversed(range(_TRIES)):
        try:
            _continue(url, part, limit, timeout)
            break
        except (requests.RequestException, HTTPError) as problem:
            if not left:
                raise DataError(f"{url}: the connection failed ({problem}); call again to continue") from problem
            time.sleep(_PAUSE)
    found = pooch.file_hash(part)
    if expected not in (None, found):
        _discard(part)
        raise DataError(f"{url}: SHA-256 of the download is {found}, expected {expected}; it was removed; {remedy}")
    _write_record(path, found)
    os.replace(part, path)
    _discard(part)
    return path


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state(part).unlink(missing_ok=True)


def _state(part: Path) -> Path:
    return part.with_suffix(".json")


def _continue(url: str, part: Path, limit: int, timeout: float) -> None:
    """One connection: adds what is missing to the unfinished file, or starts it over."""
    have, validator = _unfinished(part, url)
    headers = {"Accept-Encoding": "identity"}  # ranges count the bytes that are sent, which must be those of the file
    if validator:
        # The last byte is asked for again: no server can send a range of nothing, which is what a whole file lacks.
        headers |= {"Range": f"bytes={have - 1}-", "If-Range": validator}
    with _get(url, headers, timeout) as response:
        status = response.status_code
        if validator and (status == 416 or status == 206 and not _continues(response, have - 1, validator)):
            _discard(part)
            return _continue(url, part, limit, timeout)
        if status != 200 and not (status == 206 and validator):
            raise DataError(f"{url}: the server answers {status} {response.reason}; check the address, or try later")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DataError(f"{url}: is a web page; open it in a browser and find the address of the file itself")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity" and not part.stem.endswith((".gz", ".tgz")):
            raise DataError(f"{url}: is sent packed by {encoding}, which was not asked for; download it in a browser")
        start, total = 0, response.raw.length_remaining
        if status == 206:
            start, total = have - 1, int(response.headers["Content-Range"].rpartition("/")[2])
        if (total or 0) > limit:
            raise DataError(f"{url}: has {total} bytes, more than max_bytes={limit}; allow more if that is right")
        have = _receive(response, url, part, start, total, limit)
    if not have or total not in (None, have):
        raise requests.ConnectionError(f"{have} of {total or '?'} bytes came")


def _unfinished(part: Path, url: str) -> tuple[int, str]:
    """The size of what was left of the same address, and what tells whether the server still has the same file."""
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


class _Session(requests.Session):
    """Leaves redirects to `_get`: requests itself reads the whole body of each, however long, even if it does not follow."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _get(url: str, headers: dict[str, str], timeout: float) -> requests.Response:
    """The answer where the redirects end, its body unread."""
    address = url
    for _ in range(_REDIRECTS):
        with _Session() as session:
            response = session.get(address, headers=headers, stream=True, timeout=timeout)
        if not response.is_redirect:
            return response
        response.close()
        address = _http_address(response.headers["Location"], address)
    raise DataError(
        f"{url}: is redirected more than {_REDIRECTS} times; open it in a browser to find the right address"
    )


def _receive(response: requests.Response, url: str, part: Path, start: int, total: int | None, limit: int) -> int:
    """Writes the body from a position on and returns the size of the file then."""
    name = part.stem[1:]
    part.touch()
    with (
        open(part, "r+b") as file,
        tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, leave=False) as bar,
    ):
        file.truncate(start)
        if not start:
            # Only now: beside the bytes of an earlier version it would be a lie.
            _state(part).write_text(json.dumps({"url": url, "validator": _validator(response)}))
        file.seek(start)
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
            if file.tell() + len(chunk) > limit:
                _discard(part)
                raise DataError(f"{url}: sends more than max_bytes={limit}; allow more if that is right")
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mmlib.releases.fetch", description=fetch.__doc__.partition("\n")[0]
    )
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
