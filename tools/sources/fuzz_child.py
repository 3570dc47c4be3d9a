"""Read spoiled files in a process that is watched, and say of each what came of it.

It is started by `fuzz.py`, reads numbers of files from its standard input, one a line, and writes
a line of JSON before each file and one after it.  A crash or a hang is seen by what is missing.
"""

import contextlib
import faulthandler
import functools
import gc
import json
import os
import re
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minincep.io import convert, hdf5
from minincep.io.errors import WeightError
from minincep.io.formats import detect
from minincep.io.formats.stored import check_size
from minincep.plan import store
from minincep_kernels.errors import PlanError, UserError
from tools.sources import fuzz_samples
from tools.sources.fuzz_mutations import Mutator

SECONDS = 20  # of computing, for one file
ROOM = 128 << 20  # bytes of addresses beyond what the process has when it begins
MOST_MEMORY = 48 << 20  # bytes in memory beyond what the process has before it reads a file
LONGEST_MESSAGE = 5000  # characters
# For a text of any length HDF5 takes as much as a damaged file says, up to 4 GB, and only then
# looks for the text.  Here it is refused; nothing outside of the library could prevent it.
# Images of headers are only asked for, never touched, because the file ends before.
HDF5_MEMORY = re.compile("memory allocation failed for (?!on disk image)|unable to allocate")
FORBIDDEN = (
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.kill"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "os.putenv", "shutil.", "tempfile.", "subprocess."),
    *("socket.", "urllib.", "ctypes.", "pickle.", "marshal.", "exec", "compile", "import"),
)


@dataclass
class Watch:
    """Notes what the interpreter does while a file is read.

    Attributes
    ----------
    folder
        Where files may be read.
    seen
        What was done that no reader may do.
    """

    folder: Path
    on: bool = False
    seen: list[str] = field(default_factory=list)

    def install(self) -> None:
        """For the rest of the life of this process."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            changes = set(mode or "") & set("wax+") or (flags or 0) & writes
            inside = isinstance(path, int) or self._is_inside(os.fsdecode(path))
            if changes or not inside:
                self.seen.append(f"open {path!r} {mode!r}")
        elif event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments!r:.200}")

    def _is_inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(f"{self.folder}{os.sep}")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self.seen.clear()
        self.on = True
        try:
            yield
        finally:
            self.on = False


def read(path: Path, kind: str) -> int:
    """Read all arrays as `convert` does, and convert -> number of arrays.

    Raises
    ------
    WeightError, PlanError
        If the file is refused.
    AssertionError
        If an array is not what the file says.
    """
    if kind == fuzz_samples.PLAN:
        return _read_plan(path)
    if path.suffix == ".h5" and detect.reader(path) == detect.OWN:
        return len(hdf5.load(path).arrays())
    count: int = 0
    refused: list[WeightError] = []
    with detect.arrays(path) as found:
        if path.is_file():
            check_size(path, found.values())
        for name, stored in found.items():
            assert isinstance(name, str), name
            assert all(type(length) is int and length >= 0 for length in stored.shape), stored
            try:
                array = stored.read()
            except WeightError as error:
                refused.append(error)
                continue
            assert array.dtype == np.float32, array.dtype
            assert array.shape == stored.shape, (array.shape, stored.shape)
            assert array.flags.c_contiguous
            count += 1
    wrong = [error for error in refused if wrong_message(error, path)]
    if wrong or (refused and not count):
        raise (wrong or refused)[0]
    # There is hardly ever a network in it; memory for one of full size is more than there is here.
    with contextlib.suppress(UserError, MemoryError):
        convert.convert(path, background="keep")
    return count


def _read_plan(path: Path) -> int:
    """Load a plan; if its answers take more memory than there is, none was taken, and that is well.

    Raises
    ------
    PlanError
        If it is refused, without what it comes from.
    """
    try:
        return len(store.load(path).program.steps)
    except PlanError as error:
        reason = str(error)
    raise PlanError(reason)


def wrong_message(error: BaseException, path: Path) -> str:
    """What is wrong with a message: it must name the file and not take over a terminal."""
    text = str(error)
    if not isinstance(error, UserError):
        return "not for users"
    if f"{path.parent}{os.sep}" not in text:
        return "names no file"
    if len(text) > LONGEST_MESSAGE:
        return f"{len(text):,} characters"
    return "" if text.replace("\n", "").isprintable() else "cannot be printed"


def outcome(watch: Watch, read_it: Callable[[], int], path: Path) -> dict[str, Any]:
    """What comes of reading a file: "accepted", "refused", "hdf5", or what is wrong with it.

    "hdf5" is refused, too, but after the HDF5 library has tried to take much memory.
    """
    before = set(os.listdir(path.parent)), set(os.listdir("."))
    gc.collect(0)
    base = _reset_peak()
    found, detail = "accepted", ""
    try:
        with watch.watching(), warnings.catch_warnings():
            warnings.simplefilter("error")
            read_it()
    except (UserError, OSError) as error:
        found, detail = "refused", str(error)
        chain: BaseException | None = error
        while chain is not None:
            if isinstance(chain, MemoryError):
                found, detail = "memory", f"{chain!r} became {detail}"
            elif HDF5_MEMORY.search(str(chain)):
                found = "hdf5"
            chain = chain.__context__
        wrong = wrong_message(error, path)
        if wrong and found == "refused":
            found, detail = "message", f"{wrong}: {error!r:.300}"
    except BaseException:
        found, detail = "error", traceback.format_exc(limit=-12)
    peak = _peak() - base
    if found in ("accepted", "refused") and peak > MOST_MEMORY:
        found, detail = "memory", f"{peak:,} bytes; {detail}"
    if watch.seen:
        found, detail = "forbidden", "; ".join(watch.seen)
    if (set(os.listdir(path.parent)), set(os.listdir("."))) != before:
        found, detail = "left behind", str(os.listdir(path.parent) + os.listdir("."))
    return {"outcome": found, "detail": detail[-3000:], "peak": max(peak, 0)}


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Bytes that were in memory at most, since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise OSError("no VmHWM")


def spoiled(sample: fuzz_samples.Sample, seed: str, donors: list[bytes]) -> dict[str, bytes]:
    """The files of a sample, one of them changed."""
    mutator = Mutator(seed, donors)
    if mutator.choose(2):
        sealed = fuzz_samples.seal(sample, mutator.mutate, mutator.choose)
        if sealed is not None:
            return sealed
    files = dict(sample.files)
    names = sorted(files)
    chosen = names[mutator.choose(len(names))]
    if len(names) > 1 and not mutator.choose(20):
        del files[chosen]
        return files
    files[chosen] = mutator.mutate(files[chosen], sample.numbers[chosen])
    return files


def limit_memory(room: int = ROOM) -> None:
    """From now on this process gets so many more bytes of addresses, and no more."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + room, size + room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time(seconds: float) -> None:
    """Die by SIGPROF after so much computing from now on, with a traceback."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def main() -> None:
    """Arguments: seed, folder for files, empty folder to be in, folders of samples.

    A line of the standard input is the name of a sample and a number, or the path of a file that
    is read as it is.
    """
    seed, work, empty = sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3]
    samples = fuzz_samples.load([Path(folder).resolve() for folder in sys.argv[4:]])
    donors = [content for sample in samples for content in sample.files.values()]
    by_name = {sample.name: sample for sample in samples}
    os.chdir(empty)
    watch = Watch(work)
    start(watch, work, samples)
    print(json.dumps({sample.name: sample.kind for sample in samples}), flush=True)
    for line in sys.stdin:
        name, _, number = line.rstrip("\n").partition("\t")
        kind = ""
        if number:
            kind = by_name[name].kind
            put(work, spoiled(by_name[name], f"{seed}/{name}/{int(number)}", donors))
        path = work / name  # if the name is a whole path, that path
        watch.folder = path.parent
        limit_time(SECONDS)
        result = outcome(watch, functools.partial(read, path, kind), path)
        limit_time(0)
        print(json.dumps(result), flush=True)


def start(watch: Watch, work: Path, samples: list[fuzz_samples.Sample]) -> None:
    """Import all that good files need; from then on nothing is needed, and memory is limited."""
    store._remember = lambda digest: None  # a mark beside the compiled kernels, not left behind
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)
    watch.install()
    for sample in samples:
        put(work, sample.files)
        with contextlib.suppress(WeightError):
            read(work / sample.name, sample.kind)
        with contextlib.suppress(WeightError):
            convert.convert(work / sample.name, background="keep")
    limit_memory()


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Make these the only files in a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
