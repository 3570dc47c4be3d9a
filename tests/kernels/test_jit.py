"""Compiling, and the cache on disk.  Threads and forks: test_jit_threads.py."""

import functools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from numba import prange
from numba.core.errors import NumbaError

from minincep_kernels import Array, cache, jit
from minincep_kernels.jit import kernel
from tests.kernels import scripts
from tests.kernels.scripts import PACKAGE, TINY, USE, Report, finish, start

WARN = ("-W", "always")  # a warning is expected: print it
LOADED = {"hits": 1, "misses": 0}
COMPILED = {"hits": 0, "misses": 1}
Run = Callable[..., Report]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return functools.partial(scripts.run, tmp_path)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("**/*.kernel"))


def blocked(tmp_path: Path) -> str:
    """A path that nobody can make a folder of, root neither: it lies below a file."""
    (tmp_path / "file").touch()
    return str(tmp_path / "file" / "below")


# ------------------------------------------------------------------ calling


@kernel
def triple(x: Array, out: Array) -> None:
    for i in prange(x.size):
        out[i] = 3 * x[i]


@kernel
def zero(x: Array, out: Array) -> None:
    for i in prange(x.size):
        x[i] = out[i]


def test_input_is_never_written() -> None:
    with pytest.raises(NumbaError, match="Cannot modify readonly array"):
        zero(np.ones(4), np.empty(4))


def test_every_input_is_served_by_one_compiled_version() -> None:
    expected = 3 * np.arange(6.0)
    strided = np.repeat(np.arange(6.0), 2)[::2]
    unaligned = np.frombuffer(b"?" + np.arange(6.0).tobytes(), np.float64, offset=1)
    read_only = np.arange(6.0)
    read_only.flags.writeable = False
    for x in (np.arange(6.0), strided, unaligned, read_only, np.arange(6.0).view(np.memmap)):
        y = np.empty(6)
        triple(x, y)
        np.testing.assert_array_equal(y, expected)
        assert jit._prepare(x, written=False).flags.aligned  # as Numba believes it is
    for dispatcher in triple._dispatchers.values():
        assert len(dispatcher.signatures) == 1


@pytest.mark.parametrize("how", ["strided", "unaligned", "read-only"])
def test_output_must_be_plain(how: str) -> None:
    y = {
        "strided": np.empty(12)[::2],
        "unaligned": np.empty(49, np.uint8)[1:].view(np.float64),
        "read-only": np.broadcast_to(np.empty(6), (6,)),
    }[how]
    with pytest.raises(ValueError, match="output must be C-contiguous, aligned and writeable"):
        triple(np.arange(6.0), y)


def test_serial_and_parallel_give_the_same(run: Run) -> None:
    # Two entries: Numba's own key would not tell the two versions apart.
    script = """if True:
        import tiny
        with tiny.machine.num_threads(1): tiny.check()
        with tiny.machine.num_threads(2): tiny.check()
        assert set(tiny.double._dispatchers) == {"serial", "parallel"}
        tiny.report()
    """
    assert run(script, OMP_NUM_THREADS="2").values == {"hits": 0, "misses": 2}
    assert run(script, OMP_NUM_THREADS="2").values == {"hits": 2, "misses": 0}


def test_one_thread_starts_no_other(run: Run) -> None:
    run(
        "import tiny, numba\n"
        "tiny.check()\n"
        "try: numba.threading_layer()\n"
        "except ValueError: pass\n"
        "else: raise SystemExit('started')",
    )


def test_import_compiles_nothing_and_makes_no_folder(run: Run, tmp_path: Path) -> None:
    report = run("""if True:
        import importlib, pkgutil, json, minincep_kernels, numba
        from minincep_kernels.jit import Kernel
        kernels = []
        for info in pkgutil.walk_packages(minincep_kernels.__path__, "minincep_kernels."):
            module = importlib.import_module(info.name)
            kernels += [value for value in vars(module).values() if isinstance(value, Kernel)]
        try: numba.threading_layer()
        except ValueError: threads = False
        else: threads = True
        compiled = sum(len(kernel._dispatchers) for kernel in kernels)
        print(json.dumps({"kernels": len(kernels), "compiled": compiled, "threads": threads}))
    """)
    assert report.values.pop("kernels") > 5
    assert report.values == {"compiled": 0, "threads": False}
    assert {path.name for path in tmp_path.iterdir()} <= {"tiny.py", "__pycache__"}


def test_without_the_compiler_kernels_still_run(run: Run, tmp_path: Path) -> None:
    run("import tiny; tiny.check()", NUMBA_DISABLE_JIT="1")
    assert not entries(tmp_path)


# ------------------------------------------------------------------ the cache: where


def test_second_process_compiles_nothing(run: Run, tmp_path: Path) -> None:
    assert run(USE).values == COMPILED
    assert run(USE).values == LOADED
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 1


def test_unwritable_cache_warns_once_and_takes_the_next(run: Run, tmp_path: Path) -> None:
    wrong = blocked(tmp_path)
    first = run(USE, *WARN, MININCEP_CACHE_DIR=wrong)
    assert first.errors.count("RuntimeWarning") == 1
    assert f"cannot be kept in {wrong}" in first.errors
    assert len(entries(tmp_path / "home")) == 1
    # What is there already is read, and nothing needs to be said.
    assert run(USE, MININCEP_CACHE_DIR=wrong).values == LOADED


def test_no_cache_at_all_warns_once(run: Run, tmp_path: Path) -> None:
    wrong = blocked(tmp_path)
    script = f"import tempfile; tempfile.tempdir = {wrong!r}; {USE}"
    places = dict.fromkeys(["MININCEP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"], wrong)
    report = run(script, *WARN, **places)
    assert report.values == COMPILED
    assert report.errors.count("RuntimeWarning") == 1
    assert not entries(tmp_path)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Have this process not have looked for folders yet."""
    for name in ("MININCEP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cache, "_said", [])
    cache.folders.cache_clear()
    cache.cache_folder.cache_clear()
    yield monkeypatch
    cache.folders.cache_clear()
    cache.cache_folder.cache_clear()


def test_folders_in_order(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = blocked(tmp_path)
    expected = [tmp_path / "MININCEP_CACHE_DIR/kernels", tmp_path / "NUMBA_CACHE_DIR/kernels"]
    expected += [tmp_path / "XDG_CACHE_HOME/minincep/kernels"]
    expected += [tmp_path / f"minincep-kernels-{os.getuid()}"]
    names = ["MININCEP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"]
    assert cache.cache_folder() == expected[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, folder in zip(names, expected[1:], strict=True):
            fresh.setenv(name, wrong)
            cache.folders.cache_clear()
            cache.cache_folder.cache_clear()
            assert cache.cache_folder() == folder
    assert ["set MININCEP_CACHE_DIR" in str(warning.message) for warning in caught] == [True]


def test_no_temporary_folder_is_no_error(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> str:
        raise FileNotFoundError("No usable temporary directory found")  # as tempfile does

    fresh.setattr(tempfile, "gettempdir", fail)
    assert cache.cache_folder() == tmp_path / "MININCEP_CACHE_DIR" / "kernels"


def test_no_home_is_no_error(run: Run) -> None:
    """As in a container whose user has no entry in the list of users."""
    script = """if True:
        import pathlib, platformdirs, tiny
        def fail(name):
            raise RuntimeError("could not determine the home directory")
        platformdirs.user_cache_dir = fail
        tiny.check()
        tiny.report()
    """
    assert run(script).values["misses"] == 1


def test_no_home_makes_no_folder_of_that_name(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setattr(platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
    assert all(folder.is_relative_to(tmp_path) for folder, _ in cache.folders())


def test_relative_folder_stays_where_it_was(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.chdir(tmp_path)
    fresh.setenv("MININCEP_CACHE_DIR", "here")
    assert cache.cache_folder() == tmp_path / "here" / "kernels"


@pytest.mark.parametrize("what", ["deleted", "replaced", "full"])
def test_folder_that_breaks_later_is_no_error(run: Run, what: str) -> None:
    script = f"""if True:
        import errno, pathlib, shutil, tiny
        folder = tiny.cache.cache_folder()
        if {what!r} == "full":
            def fail(path, content):
                raise OSError(errno.ENOSPC, "No space left on device")
            pathlib.Path.write_bytes = fail
        else:
            shutil.rmtree(folder)
        if {what!r} == "replaced":
            folder.touch()
        tiny.check()
        tiny.report()
    """
    report = run(script, *WARN)
    assert report.values == COMPILED
    assert report.errors.count("RuntimeWarning") == 1
    assert "cannot be kept on disk" in report.errors


def test_two_processes_fill_one_cache(run: Run, tmp_path: Path) -> None:
    for process in [start(tmp_path, USE), start(tmp_path, USE)]:
        assert sum(finish(process).values.values()) == 1
    assert run(USE).values == LOADED
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 1


def test_file_is_written_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.kernel"
    cache.write_whole(path, b"old")

    def fail(source: Path, target: Path) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="power cut"):
        cache.write_whole(path, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.kernel", b"old")]


# ------------------------------------------------------------------ the cache: whose, and how good


@pytest.mark.parametrize("how", ["writable", "link", "owner"])
def test_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o755)
    cache.refuse_foreign(folder)
    if how == "writable":
        folder.chmod(0o775)
    elif how == "link":
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        somebody = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: somebody)
    with pytest.raises(PermissionError, match="could be written by somebody else"):
        cache.refuse_foreign(folder)


@pytest.mark.parametrize("place", ["home/minincep/kernels", f"minincep-kernels-{os.getuid()}"])
def test_kernels_of_somebody_else_are_never_loaded(run: Run, tmp_path: Path, place: str) -> None:
    wrong = blocked(tmp_path)
    settings = {"MININCEP_CACHE_DIR": wrong}
    if not place.startswith("home"):
        settings["XDG_CACHE_HOME"] = wrong
    script = f"import os; os.umask(0); {USE}"  # with which others may write what one makes
    assert run(script, *WARN, **settings).values == COMPILED
    assert len(entries(tmp_path / place)) == 1
    assert run(USE, *WARN, **settings).values == LOADED
    (tmp_path / place).chmod(0o777)
    assert run(USE, *WARN, **settings).values == COMPILED


def test_damaged_file_is_compiled_anew(run: Run, tmp_path: Path) -> None:
    run(USE)
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    code = whole.index(b"\x7fELF") + 64
    for damaged in (
        b"",
        whole[: len(whole) // 2],
        whole[:code] + bytes(byte ^ 1 for byte in whole[code : code + 4096]) + whole[code + 4096 :],
        cache.seal(b"I1\n."),
    ):
        path.write_bytes(damaged)
        assert run(USE).values == COMPILED
    assert run(USE).values == LOADED


# ------------------------------------------------------------------ the cache: how old

HELPER = """
from numba.extending import register_jitable
FACTOR = 2

@register_jitable
def times(x):
    return x * FACTOR
"""

CALLER = """
import numpy as np
from numba import prange
from minincep_kernels.helper import FACTOR, times
from minincep_kernels.jit import kernel

@kernel
def through_function(x, out):
    for i in prange(x.size):
        out[i] = times(x[i])

@kernel
def through_constant(x, out):
    for i in prange(x.size):
        out[i] = FACTOR * x[i]

def both():
    x = np.ones(4)
    a, b = np.empty(4), np.empty(4)
    through_function(x, a)
    through_constant(x, b)
    return [a[0], b[0]]
"""

CALL = "import json; from minincep_kernels import caller; print(json.dumps(caller.both()))"


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    """In a copy of the package, a source that kernels of another source use."""
    copy = tmp_path / "minincep_kernels"
    copy.mkdir()
    for name in ("__init__.py", "cache.py", "jit.py", "machine.py"):
        (copy / name).write_bytes((PACKAGE / name).read_bytes())
    (copy / "caller.py").write_text(CALLER)
    (copy / "helper.py").write_text(HELPER)
    return copy / "helper.py"


def test_edit_of_another_source_is_seen(run: Run, tmp_path: Path, helper: Path) -> None:
    assert run(CALL).values == [2, 2]
    helper.write_text(HELPER.replace("FACTOR = 2", "FACTOR = 5"))
    assert run(CALL).values == [5, 5]
    helper.write_text(HELPER)
    assert run(CALL).values == [2, 2]
    assert len(entries(tmp_path)) == 4


def test_edit_while_a_process_runs_is_kept_out(run: Run, helper: Path) -> None:
    # It compiles what it imported, which is not what the files say any more.
    edit = f"""if True:
        import json, pathlib
        from minincep_kernels import caller
        path = pathlib.Path({str(helper)!r})
        path.write_text(path.read_text().replace("FACTOR = 2", "FACTOR = 5"))
        print(json.dumps(caller.both()))
    """
    assert run(edit).values == [2, 2]
    assert run(CALL).values == [5, 5]


def test_import_after_an_edit_takes_nothing_older(run: Run, helper: Path) -> None:
    assert run(CALL).values == [2, 2]
    edit = f"""if True:
        import json, pathlib
        from minincep_kernels import jit
        path = pathlib.Path({str(helper)!r})
        path.write_text(path.read_text().replace("FACTOR = 2", "FACTOR = 5"))
    """
    assert run(f"{edit}\n{CALL}").values == [5, 5]


def test_kernels_of_one_name_are_told_apart(run: Run, tmp_path: Path) -> None:
    (tmp_path / "several.py").write_text("""if True:
        import json
        from tiny import jit, kernel, np, prange

        def make(factor):
            @kernel
            def times(x, out):
                for i in prange(x.size):
                    out[i] = factor * x[i]
            return times

        if True:
            @kernel
            def one(x, out):
                for i in prange(x.size):
                    out[i] = 5 * x[i]
        first = one

        if True:
            @kernel
            def one(x, out):
                for i in prange(x.size):
                    out[i] = 6 * x[i]

        results = []
        for each in (make(2), make(3), make(4.5), first, one):
            y = np.empty(1)
            each(np.ones(1), y)
            results.append(y[0])
        print(json.dumps(results))
    """)
    for _ in range(2):  # compiled, loaded
        assert run("import several").values == [2, 3, 4.5, 5, 6]
    assert len(entries(tmp_path)) == 5


def test_kernel_closes_over_nothing_that_the_cache_cannot_tell() -> None:
    table = np.ones(3)
    with pytest.raises(TypeError, match="closes over more than numbers and text"):

        @kernel
        def lookup(x: Array, out: Array) -> None:
            for i in prange(x.size):
                out[i] = table[i]


def test_settings_of_the_compiler_are_told_apart(run: Run) -> None:
    assert run(USE).values == COMPILED
    assert run(USE, NUMBA_BOUNDSCHECK="1").values == COMPILED
    assert run(USE, NUMBA_BOUNDSCHECK="1").values == LOADED
    assert run(USE, NUMBA_NUM_THREADS="3").values == LOADED


def test_typed_at_a_prompt_is_compiled_each_time(run: Run, tmp_path: Path) -> None:
    script = TINY + "\ncheck(); report()"
    assert run(script).values == COMPILED
    assert run(script).values == COMPILED
    assert not entries(tmp_path)
