"""Where compiled code is kept on disk, and when it may be used again.

Reading machine code runs it.  So it is taken only from folders that nobody else can write, and only
whole: a file carries a hash of itself.  A file never changes, since its name is a hash of all that
its content depends on.  Failing to read or to write one costs a compilation, never an error.
"""

import functools
import hashlib
import os
import re
import stat
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import platformdirs

# Told the name of a kernel when it begins to be compiled (True), and when that is done (False); not
# when it comes from the cache.  For a command line that shows progress.
listener: Callable[[str, bool], None] | None = None


def tell(name: str, begins: bool) -> None:
    """Tell the listener, if there is one."""
    if listener is not None:
        listener(name, begins)


# Names of compiled code, and of marks that a plan in a file was checked.
_OURS = re.compile(r"\w+-[0-9a-f]{32}\.(kernel|native|checked)")


def source_hash(files: Iterable[Path]) -> str | None:
    """Hash of these files, or None if they cannot be read: typed at a prompt, or in a zip."""
    digest = hashlib.sha256()
    for path in files:
        try:
            digest.update(os.fsencode(path.name) + b"\0" + path.read_bytes() + b"\0")
        except OSError:
            return None
    return digest.hexdigest()


def package_files() -> list[Path]:
    return sorted(Path(__file__).parent.rglob("[!.]*.py"))


PACKAGE_HASH = source_hash(package_files())


def seal(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


def unseal(sealed: bytes) -> bytes:
    """What was sealed, if it is whole: a flipped bit of machine code would crash the process."""
    content = sealed[32:]
    if seal(content) != sealed:
        raise ValueError("damaged")
    return content


@functools.cache
def folders() -> list[tuple[Path, bool]]:
    """Where compiled kernels may lie, best first, and whether only this user may write there."""
    named = [os.environ.get(name) for name in ("MININCEP_CACHE_DIR", "NUMBA_CACHE_DIR")]
    folders = [(Path(name, "kernels").absolute(), False) for name in named if name]
    try:
        user = Path(platformdirs.user_cache_dir("minincep"), "kernels")
    except RuntimeError:  # there is no home
        pass
    else:
        if user.is_absolute():  # older platformdirs leave "~" where there is no home
            folders.append((user, True))
    try:
        name = f"minincep-kernels-{os.getuid() if hasattr(os, 'getuid') else ''}"
        folders.append((Path(tempfile.gettempdir(), name).absolute(), True))
    except FileNotFoundError:
        pass
    return folders


@functools.cache
def cache_folder() -> Path | None:
    """Where new kernels are kept: the first of these folders that can be written, or None.

    ``MININCEP_CACHE_DIR``, ``NUMBA_CACHE_DIR``, the user's cache folder, the temporary folder.
    Kernels are read from all of them, so that a folder filled beforehand may be read-only.
    """
    for folder, private in folders():
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if private:
                refuse_foreign(folder)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            warn_once(f"compiled kernels cannot be kept in {folder} ({error})")
    return None


def kept() -> list[Path]:
    """The compiled kernels in `cache_folder`: files of ours, no links."""
    folder = cache_folder()
    if folder is None:
        return []
    with os.scandir(folder) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if _OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        )


def clear() -> list[Path]:
    """Remove the compiled kernels in `cache_folder`, and nothing else: -> what was removed.

    Raises
    ------
    OSError
        If one cannot be removed.
    """
    files = kept()
    for file in files:
        file.unlink(missing_ok=True)  # another process may clear, too
    return files


def refuse_foreign(folder: Path) -> None:
    """Reading a kernel runs it: take none from a folder that somebody else can write."""
    status = folder.lstat()
    owned = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if not owned or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise PermissionError(f"{folder} could be written by somebody else")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, also while other processes write the same."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


_said: list[str] = []


def warn_once(message: str) -> None:
    if _said:
        return
    _said.append(message)
    warnings.warn(
        f"{message}. Each new process may have to compile them again; set MININCEP_CACHE_DIR to a "
        "folder that can be written.",
        RuntimeWarning,
        stacklevel=2,
    )
