"""Fetch published weights and convert them.

A transfer that breaks off leaves what came, `<file>.part`, and the next one goes on from there, if
the server's file is still the same (`<file>.part.of` says which that was).  After anything else
nothing is left but the weights file.
"""

import contextlib
import gzip
import hashlib
import http.client
import re
import socket
import ssl
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from minincep.io.catalogue import CATALOGUE, Published
from minincep.io.convert import convert
from minincep.io.files import writing
from minincep.io.hdf5 import save
from minincep.io.text import printable
from minincep.models.network import Network
from minincep_kernels.errors import UserError

SECONDS = 30  # that a server may say nothing
CHUNK = 1 << 18
MOST_UNPACKED = 4  # times the size that is expected of an archive
CHANGED = "the server's file is another one by now; the same command begins again"
HEADERS = 1 << 20  # bytes of a tar archive between two members, which are read into memory

Shown = Callable[[int, int | None], None]
"""Told how many bytes have come, and of how many if that is known."""


class DownloadError(UserError, OSError):
    """A file cannot be fetched, or is not the one that it should be."""


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Attributes
    ----------
    network
        As it was stored.
    sha256
        Of the file that came, before it was converted.
    verified
        Whether a published digest says the same.
    """

    network: Network
    sha256: str
    verified: bool


def download(name: str, target: Path, shown: Shown = lambda done, size: None) -> Fetched:
    """Fetch weights of the catalogue, check, convert and store them.

    Raises
    ------
    DownloadError
        If they cannot be fetched, or are not those that were published.
    WeightError
        If they cannot be converted.
    OSError
        If a file cannot be written.
    """
    published = CATALOGUE[name]
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    told = fetch(published.url, part, most=published.megabytes * 2_000_000, shown=shown)
    try:
        sha256 = digest(part, "sha256")
        verified = check(part, published.url, published.digest or told)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            source = unpacked(part, published, Path(folder)) if published.members else part
            network = convert(source, background=published.background)
        network.preprocessing = published.preprocessing
        network.source = f"{published.origin}; {published.url}; sha256 {sha256}"
        save(network, target)
    finally:
        forget(part)
    return Fetched(network, sha256, verified)


def fetch(url: str, part: Path, *, most: int, shown: Shown) -> str | None:
    """Bring a file to `part`, or the rest of it; -> its digest, if the server tells that.

    Raises
    ------
    DownloadError
        If that fails, or the file has more than `most` bytes, of which nothing is left then.
    """
    redirects = _Redirects()
    have, version = _begun(url, part)
    with _failures(url, part), _opened(redirects, url, have, version) as answer:
        if answer.status == http.client.PARTIAL_CONTENT:
            if not _continues(answer, have, version):
                forget(part)
                raise DownloadError(f"{url}: {CHANGED}")
        else:
            have = 0
            _begin(url, part, answer)
        rest = answer.headers.get("Content-Length", "")
        size = have + int(rest) if rest.isdecimal() and len(rest) < 16 else None
        with writing(part):
            file = part.open("ab")
        with file:
            while have <= most and (size or 0) <= most:
                shown(have, size)
                chunk = answer.read(CHUNK)
                if not chunk:
                    break
                with writing(part):
                    file.write(chunk)
                have += len(chunk)
            else:
                forget(part)
                raise DownloadError(
                    f"{url} is larger than it should be, more than {most / 1e6:.0f} MB: refused"
                )
        if size not in (None, have):
            raise http.client.IncompleteRead(b"", size - have)
    return redirects.digest


def forget(part: Path) -> None:
    """Leave nothing of a transfer."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.of")


def _begin(url: str, part: Path, answer: http.client.HTTPResponse) -> None:
    """Leave nothing of an earlier transfer, and note which version of the file comes now."""
    forget(part)
    with writing(_note(part)):
        _note(part).write_text(f"{url}\n{_version(answer)}", encoding="utf-8")


def _begun(url: str, part: Path) -> tuple[int, str]:
    """How many bytes of which version are there already; 0 if there is nothing to go on with."""
    try:
        noted, _, version = _note(part).read_text(encoding="utf-8").partition("\n")
        have = part.stat().st_size
    except (OSError, UnicodeDecodeError):
        return 0, ""
    plain = version.isascii() and version.isprintable() and version != ""
    return (have, version) if noted == url and plain else (0, "")


def _version(answer: http.client.HTTPResponse) -> str:
    """What the server calls the version that it sends; weak tags do not tell bytes apart."""
    tag = answer.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        return tag
    return answer.headers.get("Last-Modified", "")


def _continues(answer: http.client.HTTPResponse, have: int, version: str) -> bool:
    """Whether what is sent belongs after the bytes that are there."""
    sent = answer.headers.get("Content-Range", "")
    return (
        answer.status == http.client.PARTIAL_CONTENT
        and sent.startswith(f"bytes {have}-")
        and _version(answer) == version
    )


class _Redirects(HTTPRedirectHandler):
    """Follows the web to the web only, and never from encrypted to plain.

    Attributes
    ----------
    digest
        What Hugging Face's server says of the file's content before it sends one elsewhere.
    """

    digest: str | None = None

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Request | None:
        """The request that is to follow, if it may."""
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and scheme != urlsplit(req.full_url).scheme:
            fp.close()
            raise DownloadError(
                f"{req.full_url}: the server sends us to {printable(newurl)!r:.100}, which is "
                "refused"
            )
        told = headers.get("X-Linked-Etag", "").strip('"').lower()
        if re.fullmatch("[0-9a-f]{64}", told):
            self.digest = f"sha256:{told}"
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(
    redirects: _Redirects, url: str, have: int, version: str
) -> contextlib.AbstractContextManager[http.client.HTTPResponse]:
    """The server's answer.  Only what speaks HTTP is here to open it: no files, no FTP."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        redirects,
    ):
        opener.add_handler(handler)
    request = Request(url, headers={"Accept-Encoding": "identity"})
    opener.addheaders = [("User-Agent", "minincep")]
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    answer = opener.open(request, timeout=SECONDS)
    if answer is None:
        raise DownloadError(f"{url}: not an address of the web")
    return answer  # type: ignore[no-any-return]


@contextlib.contextmanager
def _failures(url: str, part: Path) -> Iterator[None]:
    """Say of a failure what it was and what to do."""
    try:
        yield
    except DownloadError:
        raise
    except HTTPError as error:
        with error:
            reason = f"the server answers {error.code}, {printable(str(error.reason))}"
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            forget(part)
            reason = CHANGED
    except URLError as error:
        reason = _unreachable(error.reason)
    except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        what = printable(str(error)) or type(error).__name__
        reason = f"the transfer broke off ({what}); the same command goes on from there"
    else:
        return
    raise DownloadError(f"{url}: {reason}")


def _unreachable(cause: BaseException | str) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted ({cause.verify_message})"
    if isinstance(cause, socket.gaierror):
        return "the server is not found; is there a network, and a name server?"
    return f"the server cannot be reached ({printable(str(cause))}); is there a network?"


def digest(path: Path, kind: str) -> str:
    """Of the content of a file, in digits: kind is "sha256" or "md5"."""
    with path.open("rb") as file:
        digits = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    return digits.hexdigest()


def check(path: Path, url: str, published: str | None) -> bool:
    """Whether a whole digest is published, which the file then has.

    Of some only the first digits are: they find a damaged file, and prove nothing.

    Raises
    ------
    DownloadError
        If it has not.
    """
    if published is None:
        return False
    kind, _, digits = published.partition(":")
    found = digest(path, kind)
    if not found.startswith(digits):
        raise DownloadError(
            f"{url}: not the file that was published, its {kind} is {found}, should be {digits}; "
            "it was removed"
        )
    return len(digits) == len(found)


def unpacked(archive: Path, published: Published, folder: Path) -> Path:
    """Take the members that are needed out of an archive; -> the first of them.

    They get names of ours in the folder, whatever folders the archive would have them in.

    Raises
    ------
    DownloadError
        If one is missing, or the archive is damaged or holds more than it should.
    """
    members = _zip if published.url.endswith(".zip") else _tar
    most = published.megabytes * 1_000_000 * MOST_UNPACKED
    missing = set(published.members)
    try:
        for name, content in members(archive, published.members, most):
            if name not in missing:
                raise tarfile.ReadError(f"{name} is there twice")
            _copy(content, folder / name, most)
            missing.remove(name)
            if not missing:
                return folder / published.members[0]
    except DAMAGE as error:
        raise DownloadError(f"{published.url}: a damaged archive ({error})") from None
    names = ", ".join(sorted(missing))
    raise DownloadError(f"{published.url}: {names} is not in this archive")


DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,
)
TOO_MUCH = "it holds far more than it should"

Members = Iterator[tuple[str, IO[bytes]]]


def _zip(archive: Path, wanted: Collection[str], most: int) -> Members:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            name = PurePosixPath(entry.filename).name
            if name in wanted:
                with opened.open(entry) as content:
                    yield name, content


def _tar(archive: Path, wanted: Collection[str], most: int) -> Members:
    with _Bounded(archive) as plain, tarfile.open(fileobj=plain, mode="r|") as opened:
        for entry in opened:
            most -= entry.size
            if most < 0:
                raise tarfile.ReadError(TOO_MUCH)
            plain.left = entry.size + HEADERS
            name = PurePosixPath(entry.name).name
            content = opened.extractfile(entry) if entry.isreg() and name in wanted else None
            if content is not None:
                yield name, content


class _Bounded(gzip.GzipFile):
    """A compressed file that gives an error when too much is read from it.

    Attributes
    ----------
    left
        Bytes that may still be read.
    """

    left = HEADERS

    def read(self, size: int | None = -1) -> bytes:
        """Up to so many bytes."""
        content = super().read(size)
        self.left -= len(content)
        if self.left < 0:
            raise tarfile.ReadError(TOO_MUCH)
        return content


def _copy(content: IO[bytes], path: Path, most: int) -> None:
    with writing(path), path.open("xb") as file:
        while chunk := content.read(CHUNK):
            most -= len(chunk)
            if most < 0:
                raise tarfile.ReadError(TOO_MUCH)
            file.write(chunk)
