"""The folder of compiled code: whose it may be, and what is done about files that are damaged or a stranger's."""

import os
import shutil
import stat
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.kernels.build import disk_cache
from tinygrad_rnn.kernels.build.disk_cache import MAGIC, directory, keep_text, read, write

ROOT = Path(__file__).resolve().parents[2]

unix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no such owners here")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can act for others")
STRANGER = 1001


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Each test is told everything, and finds a folder of its own."""
    monkeypatch.setattr(disk_cache, "_warned", set())
    disk_cache._choose.cache_clear()
    disk_cache._sweep.cache_clear()
    yield
    disk_cache._choose.cache_clear()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder that is the cache."""
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "cache"))
    return directory()


def refused(match):
    return pytest.warns(RuntimeWarning, match=match)


def warnings_of(function):
    """What calling a function warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(w.message) for w in caught]


def is_private(folder):
    found = os.lstat(folder)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


# ---- the folder


def test_a_new_folder_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "a" / "b"))
    old = os.umask(0)
    try:
        folder = directory()
    finally:
        os.umask(old)
    assert folder == tmp_path / "a" / "b"
    assert all(is_private(f) for f in (folder, folder.parent))
    assert directory() == folder


@unix
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, monkeypatch, mode):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(folder))
    with refused(f"run: chmod go-w {folder}") as caught:
        mine = directory()
        assert directory() == mine
    assert len(caught) == 1
    assert mine != folder
    assert is_private(mine)
    write("x", b"1")
    assert read("x") == b"1"
    assert not list(folder.iterdir())


@unix
@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_can_replace_is_refused(tmp_path, monkeypatch, mode):
    folder = tmp_path / "shared" / "cache"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(mode)
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(folder))
    with refused(f"run: chmod go-w {folder.parent}"):
        assert is_private(directory())
    folder.parent.chmod(0o1777)  # what lies in /tmp belongs to who made it
    disk_cache._choose.cache_clear()
    assert directory() == folder


@unix
def test_a_link_is_refused(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "link"))
    with refused("is a link"):
        assert directory() not in (tmp_path / "real", tmp_path / "link")
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "link" / "cache"))  # the user's own link to another disk
    assert directory() == tmp_path / "link" / "cache"


@as_root
def test_a_strangers_folder_is_refused(tmp_path, monkeypatch):
    for name in ("cache", "parent"):
        (tmp_path / name).mkdir(mode=0o755)
        os.chown(tmp_path / name, STRANGER, STRANGER)
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "cache"))
    with refused("belongs to user 1001"):
        assert is_private(directory())
    monkeypatch.setattr(disk_cache, "_warned", set())
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "parent" / "cache"))
    with refused("belongs to user 1001"):
        assert is_private(directory())


@as_root
def test_a_strangers_folder_among_temporary_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_cache.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("TINYGRAD_RNN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    folder = tmp_path / f"tinygrad_rnn-{os.geteuid()}"
    folder.mkdir(mode=0o755)
    os.chown(folder, STRANGER, STRANGER)
    with refused("belongs to user 1001"):
        mine = directory()
    assert mine.parent == tmp_path
    assert mine != folder
    assert is_private(mine)


@unix
def test_without_a_home(tmp_path, monkeypatch):
    """A folder of the user's among the temporary files, without a word: it is found again by the next process."""
    monkeypatch.setattr(disk_cache.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("TINYGRAD_RNN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert directory() == tmp_path / f"tinygrad_rnn-{os.geteuid()}"
    assert is_private(directory())


def test_a_given_folder_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_cache.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "file" / "cache"))
    with refused("TINYGRAD_RNN_CACHE: got .*, wanted a folder that can be made"):
        assert directory().parent == tmp_path


def test_no_folder_at_all(monkeypatch):
    monkeypatch.setattr(disk_cache.tempfile, "tempdir", "/proc/nowhere")
    monkeypatch.delenv("TINYGRAD_RNN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert directory() is None
    assert read("x") is None
    (told,) = warnings_of(lambda: (write("x", b"1"), write("x", b"1")))
    assert "no folder for compiled code, which is kept in memory" in told


# ---- files


def test_what_was_written_is_read(cache):
    assert read("x") is None
    write("x", b"abc")
    assert read("x") == b"abc"
    write("x", b"")
    assert read("x") == b""
    assert stat.S_IMODE((cache / "x").stat().st_mode) & 0o077 == 0
    assert [f.name for f in cache.iterdir()] == ["x"]


def flipped(content, bit):
    content = bytearray(content)
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


CONTENT = bytes(range(256)) * 40
SIZE = len(MAGIC) + 32 + len(CONTENT)
DAMAGES = {
    "emptied": lambda c: b"",
    "one byte": lambda c: c[:1],
    "half": lambda c: c[: len(c) // 2],
    "one byte less": lambda c: c[:-1],
    "one byte more": lambda c: c + b"x",
    "zeros": lambda c: bytes(len(c)),
    "garbage": lambda c: np.random.default_rng(0).bytes(len(c)),
    "first bit": lambda c: flipped(c, 0),
    "last bit": lambda c: flipped(c, 8 * len(c) - 1),
}
for bit in np.random.default_rng(0).integers(8 * SIZE, size=50):
    DAMAGES[f"bit {bit}"] = lambda c, bit=bit: flipped(c, bit)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_noticed_and_mended(cache, damage):
    write("x", CONTENT)
    (cache / "x").write_bytes(damage((cache / "x").read_bytes()))
    with refused(f"{cache / 'x'}: cannot be used and is made anew"):
        assert read("x") is None
    assert not (cache / "x").exists()
    write("x", CONTENT)
    assert read("x") == CONTENT


def test_files_that_were_swapped_are_noticed(cache):
    write("x", b"1")
    write("y", b"2")
    (cache / "x").rename(cache / "z")
    (cache / "y").rename(cache / "x")
    with refused("checksum"):
        assert read("x") is None


def test_text_that_differs_is_written_anew(cache):
    keep_text("x.py", "a = 1\n")
    keep_text("x.py", "a = 1\n")
    (cache / "x.py").write_text("a = 2\n")
    with refused("x.py: cannot be used and is made anew"):
        keep_text("x.py", "a = 1\n")
    assert (cache / "x.py").read_text() == "a = 1\n"


def test_a_folder_in_place_of_a_file(cache):
    (cache / "x").mkdir()
    with refused("x: cannot be used and is made anew"):
        assert read("x") is None
    write("x", b"1")
    assert read("x") == b"1"
    (cache / "y" / "full").mkdir(parents=True)
    assert len(warnings_of(lambda: (read("y"), write("y", b"1")))) == 2
    assert read("y") is None
    assert sorted(f.name for f in cache.iterdir()) == ["x", "y"]


@unix
def test_a_pipe_or_a_link_in_place_of_a_file(cache, tmp_path):
    os.mkfifo(cache / "x")
    write("y", b"1")
    (cache / "y").rename(tmp_path / "y")
    (cache / "y").symlink_to(tmp_path / "y")
    for name in "xy":
        with refused(f"{name}: cannot be used and is made anew"):
            assert read(name) is None
    assert (tmp_path / "y").exists()


@unix
def test_a_file_that_others_can_write_to_is_not_read(cache):
    write("x", b"1")
    (cache / "x").chmod(0o666)
    with refused("others can write"):
        assert read("x") is None


@as_root
def test_a_strangers_file_is_not_read(cache):
    write("x", b"1")
    os.chown(cache / "x", STRANGER, STRANGER)
    with refused("belongs to user 1001"):
        assert read("x") is None


def test_a_folder_that_is_removed_is_made_again(cache):
    write("x", b"1")
    shutil.rmtree(cache)
    assert read("x") is None
    write("x", b"1")
    assert read("x") == b"1"
    assert is_private(cache)


@pytest.mark.parametrize("function", ["mkstemp", "fsync", "replace"])
def test_a_disk_that_cannot_be_written_to(cache, monkeypatch, function):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    write("x", b"1")
    monkeypatch.setattr(disk_cache.tempfile if function == "mkstemp" else os, function, fail)
    (told,) = warnings_of(lambda: (write("x", b"2"), write("y", b"2")))
    assert "kept in memory" in told
    assert "No space left" in told
    assert read("x") == b"1"
    assert [f.name for f in cache.iterdir()] == ["x"]


def test_what_killed_processes_left_is_swept(cache):
    old, new = cache / "a.tmp", cache / "b.tmp"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    write("x", b"1")
    assert sorted(f.name for f in cache.iterdir()) == ["b.tmp", "x"]


# ---- whole processes

SETUP = """
import sys, warnings
import numpy as np, tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
tr.seed(0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = nn.GRU(3, 4)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    y, _ = model(np.ones((5, 2, 3), np.float32))
    (y * y).sum().backward()
    optimizer.step()
print(sum(float((p.data.astype(float) ** 2).sum()) for p in model.parameters()).hex())
print(*dict.fromkeys(str(w.message) for w in caught), sep="\\n")
"""


def run(cache, *before, code=SETUP, **environment):
    """What a new process prints: a number, and its warnings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "TINYGRAD_RNN_"))}
    done = subprocess.run(
        [*before, sys.executable, "-c", code],
        env=kept | {"TINYGRAD_RNN_CACHE": str(cache), "PYTHONPATH": str(ROOT)} | environment,
        cwd="/",
        text=True,
        capture_output=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    number, *told = done.stdout.strip().split("\n")
    return number, [text for text in told if text]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that a process has left, and the number that it printed."""
    folder = tmp_path_factory.mktemp("filled") / "cache"
    number, told = run(folder)
    assert not told
    return folder, number


@pytest.fixture
def copied(filled, tmp_path):
    shutil.copytree(filled[0], tmp_path / "cache")
    return tmp_path / "cache", filled[1]


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", ["py", "code"])
@pytest.mark.parametrize("damage", ["emptied", "half", "garbage", "bit 0", "swapped", "folders", "removed"])
def test_no_damage_ends_a_process(copied, kind, damage):
    folder, number = copied
    files = sorted(folder.glob(f"*.{kind}"))
    contents = [f.read_bytes() for f in files]
    rng = np.random.default_rng(0)
    for file, content, other in zip(files, contents, contents[1:] + contents[:1]):
        if damage in ("folders", "removed"):
            file.unlink()
            if damage == "folders":
                file.mkdir()
        else:
            made = flipped(content, int(rng.integers(8 * len(content)))) if damage == "bit 0" else None
            file.write_bytes(made or (other if damage == "swapped" else DAMAGES[damage](content)))
    again, told = run(folder)
    assert again == number
    assert len(told) == (0 if damage == "removed" else len(files))
    assert all("made anew" in text for text in told)
    assert run(folder) == (number, [])
    assert [f.read_bytes() for f in sorted(folder.glob("*.py"))] == [
        f.read_bytes() for f in files if f.suffix == ".py"
    ] or kind == "code"


@pytest.mark.exhaustive
def test_eight_processes_start_at_once_with_nothing(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, [tmp_path / "cache"] * 8))
    assert results == [results[0]] * 8
    assert results[0][1] == []
    assert not list((tmp_path / "cache").glob("*.tmp"))


@pytest.mark.slow
def test_a_text_in_the_cache_is_never_run(copied):
    folder, number = copied
    for file in folder.glob("*.py"):
        file.write_text("print('this must not be run')\n" + file.read_text())
    again, told = run(folder)
    assert again == number
    assert all("made anew" in text for text in told)
    assert told


@as_root
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("cached", [True, False])
def test_a_read_only_installation_without_a_home(tmp_path, cached):
    """As a service runs it: another user's package, no home, perhaps a folder for the cache."""
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if subprocess.run([*nobody, sys.executable, "-c", "import numba"], capture_output=True, check=False).returncode:
        pytest.skip("others cannot read this environment")
    tmp_path = Path(disk_cache.tempfile.mkdtemp())  # pytest's own is closed to others
    try:
        tmp_path.chmod(0o755)
        shutil.copytree(ROOT / "tinygrad_rnn", tmp_path / "tinygrad_rnn", ignore=shutil.ignore_patterns("__pycache__"))
        cache = tmp_path / "cache"
        cache.mkdir(mode=0o700)
        os.chown(cache, 65534, 65534)
        code = SETUP if cached else "import tempfile; tempfile.tempdir = '/proc/nowhere'" + SETUP
        given = str(cache) if cached else ""
        for _ in range(2 if cached else 1):
            environment = {"PYTHONPATH": str(tmp_path), "HOME": "/nonexistent", "XDG_CACHE_HOME": ""}
            _, told = run(given, *nobody, code=code, **environment)
            assert [text for text in told if "kept in memory" not in text] == []
        assert bool(list(cache.iterdir())) == cached
        assert len(told) == (0 if cached else 1)
        assert not list(tmp_path.rglob("__pycache__"))
    finally:
        shutil.rmtree(tmp_path)


@as_root
@pytest.mark.slow
def test_a_full_disk(tmp_path, filled):
    folder = tmp_path / "small"
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        number, told = run(folder)
        assert number == filled[1]
        assert len(told) == 1
        assert "No space left" in told[0]
        assert not list(folder.glob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        number, told = run(folder)
        assert number == filled[1]
        assert len(told) == 1
        assert "Read-only" in told[0]
    finally:
        subprocess.run(["umount", str(folder)], check=False)


@pytest.mark.slow
def test_limits_of_files(tmp_path, filled):
    """Where a quota stops a file halfway, nothing is kept of it."""
    limit = ("bash", "-c", 'ulimit -f 8; exec "$0" "$@"')
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    number, told = run(tmp_path / "cache", *limit, code=ignore + SETUP)
    assert number == filled[1]
    assert len(told) == 1
    assert "kept in memory" in told[0]
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_warnings_are_given_once(cache):
    def damaged():
        write("x", b"1")
        (cache / "x").write_bytes(b"")
        assert read("x") is None

    assert len(warnings_of(damaged)) == 1
    assert not warnings_of(damaged)
