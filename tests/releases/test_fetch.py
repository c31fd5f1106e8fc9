"""Downloads: only complete and right files get their name, and an interrupted download is continued."""

import fcntl
import hashlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mmlib.names import DataError
from mmlib.releases.fetch import RELEASES, Release, fetch, main, releases

module = importlib.import_module("mmlib.releases.fetch")  # whatever name mmlib.data may give to the function

OLD = np.random.default_rng(0).bytes(300_000)
NEW = np.random.default_rng(1).bytes(310_000)
MONDAY, TUESDAY = "Mon, 06 Jul 2026 10:00:00 GMT", "Tue, 07 Jul 2026 10:00:00 GMT"
PIECE = 10_000
ELSEWHERE = [
    "file:///etc/hostname",
    "ftp://127.0.0.1/x",
    "data:,x",
    "http:///x",
    "http://[x/y",
    "http://127.0.0.1:99999/x",
]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one content under every path, with the faults that a test sets; notes what was asked and sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = OLD
        self.marks = {"ETag": '"old"'}  # headers that tell versions apart
        self.headers = {}
        self.status = 200
        self.ranges = True
        self.heeds_if_range = True
        self.shift = 0  # error in the start of a range
        self.length = "true"  # or "none", "chunked", or a number that is a lie
        self.cuts = []  # bytes after which the next connections are closed
        self.stalls = False  # keep the connection open instead
        self.over = threading.Event()
        self.asked = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/some/file.bin?x=1"

    @property
    def ranges_asked(self) -> list[str | None]:
        return [headers["Range"] for _, headers in self.asked]

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what the tests are about


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        s: Server = self.server
        s.asked.append((self.path, self.headers))
        if s.status != 200:
            return self.send(s.status, s.headers, [b"some error" * 10])
        start, status = 0, 200
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        if wanted and s.ranges and (not s.heeds_if_range or condition in s.marks.values()):
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")) + s.shift, 206
            if start >= len(s.content):
                return self.send(416, {"Content-Range": f"bytes */{len(s.content)}"}, [])
        body = s.content[start:]
        headers = {**s.marks}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(s.content) - 1}/{len(s.content)}"
        if s.length == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        elif s.length != "none":
            headers["Content-Length"] = str(len(body) if s.length == "true" else s.length)
        headers |= s.headers
        sent = body[: s.cuts.pop(0)] if s.cuts else body
        self.send(status, headers, (sent[i : i + PIECE] for i in range(0, len(sent), PIECE)))
        if s.length == "chunked" and sent == body:
            self.wfile.write(b"0\r\n\r\n")

    def send(self, status, headers, pieces):
        s: Server = self.server
        self.protocol_version = "HTTP/1.1" if s.length == "chunked" else "HTTP/1.0"
        self.close_connection = True
        self.send_response(status)
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        for piece in pieces:
            s.sent += len(piece)  # before the client can know
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if s.length == "chunked" else piece)
        if s.stalls:
            s.over.wait(20)


@contextmanager
def serving():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def one_try(monkeypatch):
    monkeypatch.setattr(module, "_TRIES", 1)
    monkeypatch.setattr(module, "_PAUSE", 0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def refused(*texts: str, **arguments) -> str:
    """The message of the DataError, which has all the texts."""
    with pytest.raises(DataError) as caught:
        fetch(**arguments)
    for text in texts:
        assert text in str(caught.value)
    return str(caught.value)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def interrupt(server: Server, folder: Path, after: int = 200_000) -> None:
    """A first attempt that got that many bytes."""
    server.cuts = [after]
    refused(server.url, "call again to continue", name_or_url=server.url, folder=folder)
    assert "file.bin" not in files(folder)
    server.sent = 0
    server.asked.clear()


def test_gets_a_file_whole_and_writes_its_hash_beside_it(server, tmp_path):
    path = fetch(server.url, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "file.bin"
    assert path.read_bytes() == OLD
    assert (path.parent / "file.bin.sha256").read_text() == f"{sha256(OLD)}  file.bin\n"
    assert files(path.parent) == ["file.bin", "file.bin.sha256"]
    assert server.asked[0][0] == "/some/file.bin?x=1"
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("known", [None, sha256(OLD), sha256(OLD).upper()])
def test_a_second_call_sends_no_request(server, tmp_path, known):
    first = fetch(server.url, tmp_path, known)
    assert fetch(server.url, tmp_path, known) == fetch(server.url, str(tmp_path)) == first
    assert len(server.asked) == 1


def test_a_file_put_there_by_hand_is_kept_and_recorded(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(NEW)
    assert fetch(server.url, tmp_path).read_bytes() == NEW
    assert (tmp_path / "file.bin.sha256").read_text() == f"{sha256(NEW)}  file.bin\n"
    assert not server.asked


@pytest.mark.parametrize(
    "marks", [{"ETag": '"old"'}, {"Last-Modified": MONDAY}, {"ETag": '"old"', "Last-Modified": MONDAY}]
)
@pytest.mark.parametrize("length", ["true", "chunked"])
def test_goes_on_after_a_connection_that_closed_early(server, tmp_path, marks, length):
    server.marks, server.length = marks, length
    interrupt(server, tmp_path)
    path = fetch(server.url, tmp_path)
    assert path.read_bytes() == OLD
    assert server.ranges_asked == ["bytes=199999-"]
    assert server.asked[0][1]["If-Range"] == list(marks.values())[0]
    assert server.sent == 100_001  # one byte twice
    assert files(tmp_path) == ["file.bin", "file.bin.sha256"]


def test_goes_on_by_itself_a_few_times(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TRIES", 3)
    server.cuts = [100_000, 50_000]
    assert fetch(server.url, tmp_path).read_bytes() == OLD
    assert server.ranges_asked == [None, "bytes=99999-", "bytes=149998-"]
    assert server.sent == len(OLD) + 2


def test_gives_up_after_a_few_times_and_keeps_what_came(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TRIES", 3)
    server.cuts = [1000] * 10
    refused("call again to continue", name_or_url=server.url, folder=tmp_path)
    assert len(server.asked) == 3
    assert (tmp_path / ".file.bin.part").read_bytes() == OLD[:2998]


def test_goes_on_after_a_server_error(server, tmp_path):
    interrupt(server, tmp_path)
    server.status = 503
    refused("503", name_or_url=server.url, folder=tmp_path)
    server.status = 200
    assert fetch(server.url, tmp_path).read_bytes() == OLD
    assert server.ranges_asked == ["bytes=199999-"] * 2


@pytest.mark.parametrize("heeds_if_range", [True, False])
@pytest.mark.parametrize(
    ("old", "new"), [({"ETag": '"old"'}, {"ETag": '"new"'}), ({"Last-Modified": MONDAY}, {"Last-Modified": TUESDAY})]
)
def test_a_file_that_changed_meanwhile_starts_over(server, tmp_path, old, new, heeds_if_range):
    server.marks, server.heeds_if_range = old, heeds_if_range
    interrupt(server, tmp_path)
    server.content, server.marks = NEW, new
    assert fetch(server.url, tmp_path).read_bytes() == NEW
    interrupted_again = tmp_path / "again"
    server.content, server.marks = OLD, old
    interrupt(server, interrupted_again)
    assert fetch(server.url, interrupted_again).read_bytes() == OLD  # the mark is that of the last version


def test_a_file_that_became_shorter_starts_over(server, tmp_path):
    interrupt(server, tmp_path)
    server.content, server.heeds_if_range = NEW[:1000], False
    assert fetch(server.url, tmp_path).read_bytes() == NEW[:1000]
    assert server.ranges_asked == ["bytes=199999-", None]


def test_a_changed_file_that_is_interrupted_again_goes_on_as_the_new_one(server, tmp_path):
    interrupt(server, tmp_path)
    server.content, server.marks = NEW, {"ETag": '"new"'}
    interrupt(server, tmp_path, after=1000)
    assert fetch(server.url, tmp_path).read_bytes() == NEW
    assert server.ranges_asked == ["bytes=999-"]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    interrupt(server, tmp_path)
    assert fetch(server.url, tmp_path).read_bytes() == OLD
    assert server.sent == len(OLD)


@pytest.mark.parametrize("marks", [{}, {"ETag": 'W/"old"'}])
def test_starts_over_where_nothing_tells_versions_apart(server, tmp_path, marks):
    server.marks, server.heeds_if_range = marks, False
    interrupt(server, tmp_path)
    server.content = NEW
    assert fetch(server.url, tmp_path).read_bytes() == NEW
    assert server.ranges_asked == [None]


def test_a_range_that_starts_elsewhere_starts_over(server, tmp_path):
    interrupt(server, tmp_path)
    server.shift = 7
    assert fetch(server.url, tmp_path).read_bytes() == OLD
    assert server.ranges_asked == ["bytes=199999-", None]


def test_another_address_of_the_same_name_starts_over(server, tmp_path):
    interrupt(server, tmp_path)
    assert fetch(server.url.replace("some", "other"), tmp_path).read_bytes() == OLD
    assert server.ranges_asked == [None]


def test_a_whole_file_that_never_got_its_name_costs_one_byte(server, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module.files, "sha256", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fetch(server.url, tmp_path)
    server.sent = 0
    assert fetch(server.url, tmp_path).read_bytes() == OLD
    assert server.sent == 1


def test_a_spoilt_note_beside_an_unfinished_file_starts_over(server, tmp_path):
    interrupt(server, tmp_path)
    note = tmp_path / ".file.bin.json"
    note.write_text(note.read_text()[:20])
    assert fetch(server.url, tmp_path).read_bytes() == OLD
    assert server.ranges_asked == [None]


def test_goes_on_after_kill_9(server, tmp_path):
    server.cuts, server.stalls = [250_000], True
    call = f"from mmlib.releases.fetch import fetch; fetch({server.url!r}, {str(tmp_path)!r})"
    process = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.DEVNULL)
    part, end = tmp_path / ".file.bin.part", time.monotonic() + 60
    while not part.exists() or part.stat().st_size < 240_000:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    size = part.stat().st_size
    assert "file.bin" not in files(tmp_path)
    server.stalls = False
    assert fetch(server.url, tmp_path).read_bytes() == OLD
    assert server.ranges_asked == [None, f"bytes={size - 1}-"]
    assert files(tmp_path) == ["file.bin", "file.bin.sha256"]


def test_calls_at_the_same_time_download_once(server, tmp_path):
    server.length, server.stalls = "none", True  # it ends when the connection does
    threading.Timer(0.5, server.over.set).start()
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(server.url, tmp_path), range(4)))
    assert {path.read_bytes() for path in paths} == {OLD}
    assert len(server.asked) == 1
    assert files(tmp_path) == ["file.bin", "file.bin.sha256"]


def test_a_call_waits_for_whoever_is_first_after_one_that_failed(server, tmp_path):
    lock = tmp_path / ".file.bin.lock"
    with ThreadPoolExecutor(1) as pool:
        with open(lock, "w") as first:
            fcntl.flock(first, fcntl.LOCK_EX)
            call = pool.submit(fetch, server.url, tmp_path)
            time.sleep(0.2)
            lock.unlink()
            second = open(lock, "w")
            fcntl.flock(second, fcntl.LOCK_EX)
        time.sleep(0.2)
        assert not server.asked
        second.close()
        assert call.result().read_bytes() == OLD


@pytest.mark.parametrize("length", [len(OLD) + 1, 10**15])
def test_a_truncated_body_is_no_file(server, tmp_path, length):
    server.length = length
    refused(server.url, "300000 bytes read", "call again", name_or_url=server.url, folder=tmp_path)
    assert "file.bin" not in files(tmp_path)


@pytest.mark.parametrize("length", ["true", "none", "chunked"])
def test_an_empty_body_is_no_file(server, tmp_path, length):
    server.content, server.length = b"", length
    refused("0 of ? bytes", name_or_url=server.url, folder=tmp_path)
    assert "file.bin" not in files(tmp_path)


def test_a_rest_longer_than_the_file_is_no_file(server, tmp_path):
    interrupt(server, tmp_path)
    server.headers = {"Content-Range": "bytes 199999-299998/299999"}
    refused("300000 of 299999", name_or_url=server.url, folder=tmp_path)
    assert "file.bin" not in files(tmp_path)


def test_a_body_of_unknown_length_is_taken_as_it_comes(server, tmp_path):
    server.length = "none"
    assert fetch(server.url, tmp_path).read_bytes() == OLD


def test_a_length_too_small_shows_in_the_hash(server, tmp_path):
    server.length = 1000
    refused(sha256(OLD), sha256(OLD[:1000]), name_or_url=server.url, folder=tmp_path, sha256=sha256(OLD))
    assert files(tmp_path) == []


def test_tampered_content_is_refused_and_removed(server, tmp_path):
    server.content = OLD[:1000] + b"x" + OLD[1001:]
    assert server.content != OLD
    refused(
        server.url, sha256(OLD), sha256(server.content), name_or_url=server.url, folder=tmp_path, sha256=sha256(OLD)
    )
    assert files(tmp_path) == []
    server.content = OLD
    assert fetch(server.url, tmp_path, sha256(OLD)).read_bytes() == OLD
    assert server.ranges_asked == [None, None]


def test_tampered_content_is_refused_when_it_comes_in_two_parts(server, tmp_path):
    interrupt(server, tmp_path)
    server.content = OLD[:-1] + b"x"
    refused(sha256(OLD), sha256(server.content), name_or_url=server.url, folder=tmp_path, sha256=sha256(OLD))
    assert files(tmp_path) == []


def test_the_hash_of_the_first_call_holds_for_a_later_download(server, tmp_path):
    fetch(server.url, tmp_path).unlink()
    server.content = NEW
    message = refused(sha256(OLD), sha256(NEW), "file.bin.sha256", name_or_url=server.url, folder=tmp_path)
    assert "another version" in message
    assert files(tmp_path) == ["file.bin.sha256"]
    assert fetch(server.url, tmp_path, sha256(NEW)).read_bytes() == NEW  # the caller knows better
    assert fetch(server.url, tmp_path).read_bytes() == NEW


@pytest.mark.parametrize("known", [None, sha256(OLD)])
def test_a_file_that_was_damaged_later_is_refused_and_kept(server, tmp_path, known):
    path = fetch(server.url, tmp_path)
    path.write_bytes(NEW)
    refused(str(path), sha256(OLD), sha256(NEW), "remove it", name_or_url=server.url, folder=tmp_path, sha256=known)
    assert path.read_bytes() == NEW
    assert len(server.asked) == 1


def test_a_spoilt_record_is_named(server, tmp_path):
    record = fetch(server.url, tmp_path).with_name("file.bin.sha256")
    record.write_bytes(b"\xff" * 5000)
    assert len(refused(str(record), "remove it", name_or_url=server.url, folder=tmp_path)) < 1000


@pytest.mark.parametrize("known", ["", "abc", "g" * 64, f"sha256:{'0' * 64}", "0" * 65])
def test_what_is_no_sha256_is_refused_before_anything_is_asked(server, tmp_path, known):
    refused("64 hexadecimal digits", name_or_url=server.url, folder=tmp_path, sha256=known)
    assert not server.asked


@pytest.mark.parametrize("status", [204, 206, 304, 403, 404, 416, 500])
def test_any_other_answer_is_named(server, tmp_path, status):
    server.status = status
    refused(server.url, str(status), "check the address", name_or_url=server.url, folder=tmp_path)
    assert files(tmp_path) == []
    assert len(server.asked) == 1


def test_a_web_page_is_no_file(server, tmp_path):
    server.headers = {"Content-Type": "text/html; charset=utf-8"}
    refused(server.url, "web page", name_or_url=server.url, folder=tmp_path)
    assert files(tmp_path) == []


def test_a_body_that_was_packed_on_the_way_is_refused_but_not_a_file_that_is_so(server, tmp_path):
    server.headers = {"Content-Encoding": "gzip"}
    refused(server.url, "gzip", name_or_url=server.url, folder=tmp_path)
    assert files(tmp_path) == []
    assert fetch(server.url.replace("file.bin", "file.tar.gz"), tmp_path).read_bytes() == OLD


def test_a_silent_server_is_given_up(server, tmp_path):
    server.cuts, server.stalls = [1000], True
    begin = time.monotonic()
    refused(server.url, "timed out", name_or_url=server.url, folder=tmp_path, timeout=0.2)
    assert time.monotonic() - begin < 5


def test_a_server_that_is_not_there_is_named(tmp_path):
    with serving() as server:
        url = server.url
    refused(url, "connection failed", name_or_url=url, folder=tmp_path)
    assert files(tmp_path) == []


def test_follows_redirects_and_keeps_the_name_of_the_first_address(server, tmp_path):
    with serving() as first:
        first.status, first.headers = 302, {"Location": server.url.replace("file.bin", "..%2Fevil")}
        path = fetch(first.url, tmp_path)
    assert path == tmp_path / "file.bin" and path.read_bytes() == OLD


def test_goes_on_behind_a_redirect(server, tmp_path):
    with serving() as first:
        first.status, first.headers = 307, {"Location": server.url}
        server.cuts = [200_000]
        refused("continue", name_or_url=first.url, folder=tmp_path)
        server.sent = 0
        assert fetch(first.url, tmp_path).read_bytes() == OLD
    assert server.sent == 100_001


@pytest.mark.parametrize("place", [place for place in ELSEWHERE if place != "http:///x"])
def test_redirects_lead_to_http_only(server, tmp_path, place, monkeypatch):
    monkeypatch.setattr(module, "_TRIES", 3)  # another try would lead to the same place
    server.status, server.headers = 302, {"Location": place}
    refused(server.url, "connection failed", name_or_url=server.url, folder=tmp_path)
    assert files(tmp_path) == []
    assert len(server.asked) == 1


def test_a_circle_of_redirects_ends(server, tmp_path):
    server.status, server.headers = 301, {"Location": "/some/file.bin"}
    refused(server.url, "redirects", name_or_url=server.url, folder=tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("address", [*ELSEWHERE, "http:x", "http://", "http:///x"])
def test_only_http_addresses_are_opened(tmp_path, address):
    refused(address, "no http:// or https:// address", name_or_url=address, folder=tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "last", ["", "..", "%2e%2e", "..%2Fevil", "%2Ftmp%2Fevil", "..%5Cevil", ".bashrc", "a%00b", "a%0Ab"]
)
def test_the_name_in_an_address_cannot_leave_the_folder(server, tmp_path, last):
    folder = tmp_path / "data"
    refused("cannot be the name of a file", name_or_url=server.url.replace("file.bin", last), folder=folder)
    assert files(tmp_path) == []
    assert not server.asked


@pytest.mark.parametrize("filename", ["", ".", "..", "../evil", "a/../../evil", "/tmp/evil", "sub/file", "..\\evil"])
def test_the_name_that_a_caller_gives_cannot_leave_the_folder(server, tmp_path, filename):
    for what in (server.url, "mmsa_mosi_aligned"):
        refused("cannot be the name of a file", name_or_url=what, folder=tmp_path / "data", filename=filename)
    assert files(tmp_path) == []
    assert not server.asked


def test_the_name_of_a_file_can_be_chosen_and_may_have_spaces(server, tmp_path):
    assert fetch(server.url, tmp_path, filename="données (1).bin").name == "données (1).bin"
    assert fetch(server.url.replace("file.bin", "my%20file.bin"), tmp_path).name == "my file.bin"


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    refused(str(tmp_path / "file"), "choose another folder", name_or_url=server.url, folder=tmp_path / "file")


def test_an_unknown_release_is_told_the_known_ones(tmp_path):
    refused("'mmsa'", *RELEASES, name_or_url="mmsa", folder=tmp_path)


@pytest.mark.parametrize("name", [name for name, release in RELEASES.items() if not release.address])
def test_a_release_that_a_person_must_get_comes_with_instructions(tmp_path, name):
    release = RELEASES[name]
    place = tmp_path / release.file
    message = refused(name, release.what, release.terms, release.how, str(place), name_or_url=name, folder=tmp_path)
    assert "github.com/" in message or "sail.usc.edu" in message
    assert "{" not in message
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["mmimdb_raw", "mmimdb_hdf5", "mmimdb_metadata"])
def test_an_address_that_is_not_known_is_asked_for(tmp_path, name):
    file = RELEASES[name].file.partition("/")[2]
    refused("archive.org", file, "not known here", "please tell", name_or_url=name, folder=tmp_path)


def test_iemocap_needs_a_signature(tmp_path):
    for name in ("iemocap", "mmin_iemocap", "mult_iemocap"):
        refused("sign USC's agreement", "nothing may be passed on", name_or_url=name, folder=tmp_path)


def test_a_release_in_its_place_is_returned(tmp_path):
    file = tmp_path / "mult" / "mosi_data.pkl"
    file.parent.mkdir()
    file.write_bytes(OLD)
    assert fetch("mult_mosi", tmp_path) == file
    assert file.with_name("mosi_data.pkl.sha256").exists()
    (tmp_path / "mintrec").mkdir()
    assert fetch("mintrec", tmp_path) == tmp_path / "mintrec"


def test_a_release_in_its_place_is_checked_against_the_published_hash(tmp_path):
    file = tmp_path / "mmsa" / "MOSI" / "Processed" / "aligned_50.pkl"
    file.parent.mkdir(parents=True)
    file.write_bytes(OLD)
    refused(
        str(file), RELEASES["mmsa_mosi_aligned"].sha256, sha256(OLD), name_or_url="mmsa_mosi_aligned", folder=tmp_path
    )
    assert fetch("mmsa_mosi_aligned", tmp_path, sha256(OLD)) == file


def test_a_release_with_an_address_is_downloaded_and_checked(server, tmp_path, monkeypatch):
    release = Release("a set", "free", "set/own.bin", address=server.url, sha256=sha256(OLD))
    monkeypatch.setitem(RELEASES, "own", release)
    assert fetch("own", tmp_path) == tmp_path / "set" / "own.bin"
    assert (tmp_path / "set" / "own.bin").read_bytes() == OLD
    monkeypatch.setitem(RELEASES, "own", release._replace(sha256=sha256(NEW)))
    refused(sha256(NEW), name_or_url="own", folder=tmp_path / "again")
    assert releases().set_index("name").how["own"] == server.url


def test_the_table_has_terms_and_a_way_for_every_release():
    table = releases()
    assert list(table.columns) == ["name", "what", "terms", "how"]
    assert list(table.name) == list(RELEASES)
    assert (table.map(len) > 0).all(axis=None)
    place = "data/mmsa/MOSEI/Processed/unaligned_50.pkl"
    assert f"{place}; mmlib.releases.load({place!r}) reads it" in table.set_index("name").how["mmsa_mosei_unaligned"]
    hashes = [release.sha256 for release in RELEASES.values() if release.sha256]
    assert len(set(hashes)) == 4 and all(len(bytes.fromhex(h)) == 32 for h in hashes)


def test_the_command_fetches_explains_and_lists(server, tmp_path, capsys):
    assert main([server.url, "--folder", str(tmp_path), "--sha256", sha256(OLD)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'file.bin'}\n"
    assert main([server.url, "--folder", str(tmp_path), "--sha256", sha256(NEW)]) == 1
    assert sha256(NEW) in capsys.readouterr().err
    assert main(["mintrec", "--folder", str(tmp_path)]) == 1
    assert "github.com/thuiar/MIntRec" in capsys.readouterr().err
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for row in releases().itertuples(index=False) for text in row)
