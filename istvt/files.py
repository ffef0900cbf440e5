"""Write files and folders atomically: after a kill, the old or the new content is whole."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; swap it in if the block ends without error.

    The old folder is moved aside before the new one takes its name, and is removed last. At every
    moment at least one of the two is whole on disk. `recover_folder` repairs a swap that a kill
    interrupted. If `path` is a link, the folder it points to is swapped and the link stays.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    _sweep(path)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-{os.getpid()}-"))
    try:
        yield temporary
        temporary.chmod(0o755)
        aside = _aside(path)
        if path.exists():
            path.rename(aside)
        temporary.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Restore the old folder if a kill interrupted a swap between its two renames.

    Readers may call it safely: it renames only if `path` does not exist.
    """
    path = path.resolve()
    aside = _aside(path)
    if not path.exists() and aside.exists():
        with suppress(OSError):  # another process was faster, or the folder is read-only
            aside.rename(path)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as a hex string, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sha256_of_head(path: Path, num_bytes: int) -> str:
    """Return the SHA-256 of a file's first bytes as a hex string."""
    with path.open("rb") as stream:
        return sha256_of_bytes(stream.read(num_bytes))


def sha256_of_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes in memory as a hex string."""
    return hashlib.sha256(content).hexdigest()


def _sweep(path: Path) -> None:
    """Remove leftovers of killed writers beside this folder."""
    if path.exists():
        shutil.rmtree(_aside(path), ignore_errors=True)
    for left in path.parent.glob(f".{path.name}-*-*"):
        pid = left.name.removeprefix(f".{path.name}-").partition("-")[0]
        if pid.isdecimal() and not _is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")
