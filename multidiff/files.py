"""Files on disk: checked before they are read, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multidiff.errors import MediaError, MultidiffError

MAX_BYTES = 2 * 1024**3

_UMASK = os.umask(0)
os.umask(_UMASK)


def readable(path: str | Path, what: str, max_bytes: int = MAX_BYTES) -> Path:
    """The path of an existing, non-empty file of sane size.

    Raises MediaError naming the file and what to do.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise MediaError(f"{path}: no such file; give the path of {what}")
    if path.is_dir():
        raise MediaError(f"{path}: is a folder; give the path of {what}")
    size = path.stat().st_size
    if size == 0:
        raise MediaError(f"{path}: the file is empty (0 bytes); give {what}")
    if size > max_bytes:
        raise MediaError(
            f"{path}: {size / 1024**3:.1f} GiB is more than the {max_bytes / 1024**3:.1f} GiB read at once; cut it"
        )
    if not os.access(path, os.R_OK):
        raise MediaError(f"{path}: no permission to read it; change its permissions")
    return path


def folder(path: str | Path) -> Path:
    """The path of a folder that exists (made when missing) and can be written to.

    Raises MultidiffError otherwise.
    """
    path = Path(path).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise MultidiffError(f"{path}: cannot write there ({error.strerror}); choose another folder with -o") from None
    return path


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix) that becomes `path` only when the block succeeds.

    Nothing half-written is left behind, whatever is raised inside. An OSError (disk full, read-only)
    becomes a MultidiffError that names the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # some writers make private files
        os.replace(temporary, path)
    except OSError as error:
        raise MultidiffError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
