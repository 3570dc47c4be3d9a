"""Downloads, from a server of our own: what breaks, what is refused, what is left behind."""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import Request

import numpy as np
import pytest

import minincep as mi
from minincep.io import download as module
from minincep.io.catalogue import CATALOGUE, Published
from minincep.io.download import DownloadError, download, fetch, unpacked
from minincep.io.errors import WeightError
from minincep.models.preprocessing import FACENET_2017, SLIM

CONTENT = np.random.RandomState(0).bytes(300_000)


class Handler(BaseHTTPRequestHandler):
    """Serves one file, badly if it is told so."""

    content: ClassVar[bytes]
    tag: ClassVar[str]
    breaks_after: ClassVar[int | None]
    ranges: ClassVar[bool]
    length: ClassVar[bool]
    headers_of_all: ClassVar[list[dict[str, str]]]

    def do_GET(self) -> None:
        self.headers_of_all.append(dict(self.headers))
        if self.path == "/away":
            self._redirect("file:///etc/passwd")
        elif self.path == "/ftp":
            self._redirect("ftp://127.0.0.1/file")
        elif self.path == "/circle":
            self._redirect("/circle")
        elif self.path == "/moved":
            self._redirect("/file")
        elif self.path == "/hub":
            self.send_header_of_hub()
        elif self.path != "/file":
            self.send_error(404)
        else:
            self._file()

    def _redirect(self, to: str, **headers: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_header_of_hub(self) -> None:
        """As Hugging Face's server: the digest comes before the file."""
        self._redirect("/file", X_Linked_Etag=f'"{hashlib.sha256(CONTENT).hexdigest()}"')

    def _file(self) -> None:
        start = 0
        wanted = self.headers.get("Range", "")
        if wanted and self.ranges and self.headers.get("If-Range") == self.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.content):
                self.send_error(416)
                return
            self.send_response(206)
            last = len(self.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(self.content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", self.tag)
        body = self.content[start:]
        if self.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the other side may have heard enough
            self.wfile.write(body if self.breaks_after is None else body[: self.breaks_after])

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server that does all well, until its attributes are changed; it is at `url`."""
    monkeypatch.setenv("no_proxy", "*")
    fresh: Any = type("Fresh", (Handler,), {})
    fresh.content, fresh.tag, fresh.breaks_after = CONTENT, '"1"', None
    fresh.ranges, fresh.length, fresh.headers_of_all = True, True, []
    running = ThreadingHTTPServer(("127.0.0.1", 0), fresh)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fresh.url = f"http://127.0.0.1:{running.server_port}"
    yield fresh
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def place(server: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts weights that this server has into the catalogue, as "mine"; they are not converted."""
    small = mi.create_model("inception_resnet_v2", num_classes=2, width=0.02, blocks=(1, 1, 1))

    def convert(path: Path, *, background: str | None) -> Any:
        assert background == "drop"
        assert path.read_bytes() == CONTENT
        return small

    monkeypatch.setattr(module, "convert", convert)

    def put(path: str = "/file", **changes: Any) -> None:
        mine = Published("me", server.url + path, 1, "mine", SLIM, background="drop")
        monkeypatch.setitem(CATALOGUE, "mine", dataclasses.replace(mine, **changes))

    put()
    return put


def nothing(done: int, size: int | None) -> None:
    """Show nothing."""


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("path", ["/file", "/moved"])
def test_whole(place: Callable[..., None], path: str, tmp_path: Path) -> None:
    place(path)
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "weights" / "mine.h5"
    fetched = download("mine", target, lambda *now: seen.append(now))
    assert fetched.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert not fetched.verified
    network = mi.load(target)
    assert network.preprocessing == SLIM
    assert fetched.sha256 in network.source
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert left(target.parent) == ["mine.h5"]


def test_a_broken_transfer_goes_on(place: Callable[..., None], server: Any, tmp_path: Path) -> None:
    target = tmp_path / "mine.h5"
    server.breaks_after = 100_000
    with pytest.raises(DownloadError, match=r"broke off .* the same command goes on from there"):
        download("mine", target)
    assert (tmp_path / "mine.h5.part").read_bytes() == CONTENT[:100_000]
    server.breaks_after = None
    download("mine", target)
    assert server.headers_of_all[-1]["Range"] == "bytes=100000-"
    assert server.headers_of_all[-1]["If-Range"] == '"1"'
    assert left(tmp_path) == ["mine.h5"]


def test_interrupted_in_the_transfer(place: Callable[..., None], tmp_path: Path) -> None:
    def stop(done: int, size: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("mine", tmp_path / "mine.h5", stop)
    assert left(tmp_path) == ["mine.h5.part", "mine.h5.part.of"]
    download("mine", tmp_path / "mine.h5")
    assert left(tmp_path) == ["mine.h5"]


def begun(server: Any, tmp_path: Path) -> Path:
    """A transfer that has broken off."""
    part = tmp_path / "x.part"
    server.breaks_after = 100_000
    with pytest.raises(DownloadError):
        fetch(f"{server.url}/file", part, most=10**6, shown=nothing)
    server.breaks_after = None
    return part


def test_a_server_that_sends_all_again(server: Any, tmp_path: Path) -> None:
    part = begun(server, tmp_path)
    server.ranges = False
    fetch(f"{server.url}/file", part, most=10**6, shown=nothing)
    assert part.read_bytes() == CONTENT


def test_another_file_by_now(server: Any, tmp_path: Path) -> None:
    part = begun(server, tmp_path)
    server.content, server.tag = CONTENT[::-1], '"2"'
    fetch(f"{server.url}/file", part, most=10**6, shown=nothing)
    assert part.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("tag", ["", 'W/"1"'])
def test_a_server_that_does_not_tell_versions_apart(server: Any, tag: str, tmp_path: Path) -> None:
    server.tag = tag
    part = begun(server, tmp_path)
    server.content = CONTENT[::-1]
    fetch(f"{server.url}/file", part, most=10**6, shown=nothing)
    assert part.read_bytes() == CONTENT[::-1]


def test_another_address(server: Any, tmp_path: Path) -> None:
    """What came from one address is not gone on with from the next."""
    part = begun(server, tmp_path)
    fetch(f"{server.url}/moved", part, most=10**6, shown=nothing)
    assert "Range" not in server.headers_of_all[-1]
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("note", [b"\xff", b"{}\n", b'{}\n"1"\nX: y', "{}\n\u0416".encode()])
def test_a_damaged_note(server: Any, note: bytes, tmp_path: Path) -> None:
    part, url = begun(server, tmp_path), f"{server.url}/file"
    part.with_name("x.part.of").write_bytes(note.replace(b"{}", url.encode()))
    fetch(url, part, most=10**6, shown=nothing)
    assert part.read_bytes() == CONTENT


def test_a_part_of_another_file(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a server that does not care about If-Range."""
    part = begun(server, tmp_path)
    monkeypatch.setattr(module, "_version", lambda answer: '"2"')
    with pytest.raises(DownloadError, match="another one by now; the same command begins again"):
        fetch(f"{server.url}/file", part, most=10**6, shown=nothing)
    assert left(tmp_path) == []


def test_more_has_come_than_there_is(server: Any, tmp_path: Path) -> None:
    part = begun(server, tmp_path)
    part.write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="another one by now; the same command begins again"):
        fetch(f"{server.url}/file", part, most=10**6, shown=nothing)
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_digests(place: Callable[..., None], kind: str, tmp_path: Path) -> None:
    digits = hashlib.new(kind, CONTENT).hexdigest()
    place(digest=f"{kind}:{digits}")
    assert download("mine", tmp_path / "mine.h5").verified
    place(digest=f"{kind}:{digits[:8]}")  # too short to prove anything
    assert not download("mine", tmp_path / "mine.h5").verified
    place(digest=f"{kind}:{digits[7::-1]}")
    with pytest.raises(DownloadError, match="not the file"):
        download("mine", tmp_path / "other.h5")
    before = (tmp_path / "mine.h5").read_bytes()
    place(digest=f"{kind}:{digits[::-1]}")
    with pytest.raises(DownloadError, match=f"not the file .* its {kind} is {digits}, should be"):
        download("mine", tmp_path / "mine.h5")
    assert left(tmp_path) == ["mine.h5"]
    assert (tmp_path / "mine.h5").read_bytes() == before


def test_a_digest_that_the_server_tells(
    place: Callable[..., None], server: Any, tmp_path: Path
) -> None:
    place("/hub")
    assert download("mine", tmp_path / "mine.h5").verified
    server.content = CONTENT[::-1]
    with pytest.raises(DownloadError, match="not the file that was published"):
        download("mine", tmp_path / "other.h5")
    assert left(tmp_path) == ["mine.h5"]


@pytest.mark.parametrize("path", ["/away", "/ftp", "/circle", "/nothing"])
def test_addresses_that_are_refused(server: Any, path: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=path) as caught:
        fetch(server.url + path, tmp_path / "x.part", most=10**6, shown=nothing)
    reason = {"/away": "file:", "/ftp": "ftp:", "/circle": "infinite loop", "/nothing": "404"}
    assert reason[path] in str(caught.value)
    assert left(tmp_path) == []


def test_never_from_encrypted_to_plain() -> None:
    redirects = module._Redirects()
    answer = http_headers()
    secret = Request("https://somewhere/x")
    with pytest.raises(DownloadError, match="'http://elsewhere/y', which is refused"):
        redirects.redirect_request(secret, io.BytesIO(), 302, "", answer, "http://elsewhere/y")
    assert redirects.redirect_request(secret, io.BytesIO(), 302, "", answer, "https://elsewhere")
    plain = Request("http://somewhere/x")
    assert redirects.redirect_request(plain, io.BytesIO(), 302, "", answer, "http://elsewhere")


def http_headers() -> Any:
    from http.client import parse_headers

    return parse_headers(io.BytesIO(b"\r\n"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_only_the_web_is_opened(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not an address of the web"):
        fetch(url, tmp_path / "x.part", most=10**6, shown=nothing)
    assert left(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
def test_larger_than_it_should_be(server: Any, length: bool, tmp_path: Path) -> None:
    server.length = length
    seen: list[int] = []
    with pytest.raises(DownloadError, match="larger than it should be"):
        fetch(
            f"{server.url}/file",
            tmp_path / "x.part",
            most=299_999,
            shown=lambda done, size: seen.append(done),
        )
    assert bool(seen) != length  # if it is said before, nothing is read
    assert left(tmp_path) == []


def test_no_network(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match="the server is not found; is there a network"):
        fetch("https://example.invalid/x", tmp_path / "x.part", most=1, shown=nothing)


def test_nobody_there(server: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch(f"http://127.0.0.1:{port}/x", tmp_path / "x.part", most=1, shown=nothing)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, WeightError("damaged")])
def test_nothing_is_left_of_a_conversion_that_fails(
    place: Callable[..., None],
    failure: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def convert(path: Path, **options: Any) -> Any:
        raise failure

    monkeypatch.setattr(module, "convert", convert)
    kind = failure if isinstance(failure, type) else type(failure)
    with pytest.raises(kind):
        download("mine", tmp_path / "mine.h5")
    assert left(tmp_path) == []


def archive(kind: str, members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as made:
            for name, content in members.items():
                made.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as packed:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                packed.addfile(entry, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., tuple[Path, Published, Path]]:
    """An archive in a file, what is published of it, and the folder for its members."""

    def put(
        kind: str, content: bytes, *members: str, megabytes: int = 1
    ) -> tuple[Path, Published, Path]:
        path, folder = tmp_path / "archive", tmp_path / "folder"
        path.write_bytes(content)
        folder.mkdir()
        published = Published(
            "", f"http://x/y.{kind}", megabytes, "", FACENET_2017, members=members
        )
        return path, published, folder

    return put


Packed = Callable[..., tuple[Path, Published, Path]]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_members_of_archives(packed: Packed, kind: str, tmp_path: Path) -> None:
    held = {"deep/other": b"3", "../../net.index": b"1", "/deep/net.data": CONTENT, "last": b""}
    path, published, folder = packed(kind, archive(kind, held), "net.index", "net.data")
    assert unpacked(path, published, folder) == folder / "net.index"
    assert left(folder) == ["net.data", "net.index"]
    assert (folder / "net.index").read_bytes() == b"1"
    assert (folder / "net.data").read_bytes() == CONTENT
    assert left(tmp_path) == ["archive", "folder"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_without_what_is_needed(packed: Packed, kind: str) -> None:
    path, published, folder = packed(kind, archive(kind, {"a/net.h5x": b""}), "net.h5")
    with pytest.raises(DownloadError, match=r"net\.h5 is not in this archive"):
        unpacked(path, published, folder)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("size", [0, 40, 200_000])
def test_damaged_archives(packed: Packed, kind: str, size: int) -> None:
    path, published, folder = packed(kind, archive(kind, {"x/net": CONTENT})[:size], "net")
    with pytest.raises(DownloadError, match=r"a damaged archive|not in this archive"):
        unpacked(path, published, folder)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["net", "other"])
def test_archives_that_hold_far_more(packed: Packed, kind: str, name: str) -> None:
    with io.BytesIO() as file:
        if kind == "zip":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
                made.writestr(name, bytes(5_000_000))
        else:
            file.write(archive(kind, {name: bytes(5_000_000), "net2": b""}))
        content = file.getvalue()
    assert len(content) < 50_000
    path, published, folder = packed(kind, content, "net")
    skipped = kind == "zip" and name == "other"  # which takes no time
    with pytest.raises(DownloadError, match="net is not in" if skipped else "far more than it"):
        unpacked(path, published, folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 4_000_000


def test_a_tar_header_that_takes_memory(packed: Packed) -> None:
    """Long names are read into memory before the member is seen."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 3_000_000
    content = gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(3_100_000))
    path, published, folder = packed("tar.gz", content, "net")
    with pytest.raises(DownloadError, match="far more than it should"):
        unpacked(path, published, folder)


def test_a_member_that_is_there_twice(packed: Packed) -> None:
    held = {"a/net": b"1", "b/net": b"2", "c/last": b""}
    path, published, folder = packed("tar.gz", archive("tar.gz", held), "net", "last")
    with pytest.raises(DownloadError, match="net is there twice"):
        unpacked(path, published, folder)


def test_links_in_archives_are_no_members(packed: Packed) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as made:
        entry = tarfile.TarInfo("net")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(entry)
    path, published, folder = packed("tar.gz", file.getvalue(), "net")
    with pytest.raises(DownloadError, match="net is not in this archive"):
        unpacked(path, published, folder)


def test_an_archive_is_converted(place: Callable[..., None], server: Any, tmp_path: Path) -> None:
    server.content = archive("tar.gz", {"1.1/model/net.h5": CONTENT})
    place(members=("net.h5",))
    download("mine", tmp_path / "mine.h5")
    assert left(tmp_path) == ["mine.h5"]
