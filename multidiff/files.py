"""Files on disk: checked before they are read, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multidiff.errors import InputError, MediaError, MultidiffError

MAX_BYTES = 2 * 1024**3

_UMASK = os.umask(0)
os.umask(_UMASK)


def readable(path: str | Path, what: str, max_bytes: int = MAX_BYTES) -> Path:
    """The path of an existing, non-empty file of sane size.

    Raises MediaError naming the file and what to do.
    """
    path = Path(path)
    try:
        path = path.expanduser()
        found = path.stat()
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file; give the path of {what}") from None
    except (OSError, RuntimeError, ValueError) as error:  # too long, below a file, ~nobody, NUL
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: cannot be read ({reason}); give the path of {what}") from None
    if stat.S_ISDIR(found.st_mode):
        raise MediaError(f"{path}: is a folder; give the path of {what}")
    if not stat.S_ISREG(found.st_mode):
        raise MediaError(f"{path}: is a pipe or device; save it as a file and give the path of {what}")
    size = found.st_size
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

    Raises InputError where a file is in the way, MultidiffError where the disk refuses.
    """
    path = Path(path)
    try:
        path = path.expanduser()
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{path}: is a file or lies below one; choose a folder with -o") from None
    except (RuntimeError, ValueError) as error:  # ~nobody, NUL
        raise InputError(f"{path}: is no folder's name ({error}); choose another with -o") from None
    except OSError as error:
        raise MultidiffError(f"{path}: cannot write there ({error.strerror}); choose another folder with -o") from None
    return path


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix) that becomes `path` only when the block succeeds.

    Nothing half-written is left behind, whatever is raised inside. An OSError (disk full, read-only)
    becomes a MultidiffError that names the file.
    """
    with _replacing(Path(path)) as temporary:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # some writers make private files


@contextmanager
def folder_written_whole(path: str | Path) -> Iterator[Path]:
    """A new folder beside `path` that takes its place, whatever was in it, only when the block succeeds.

    As `written_whole`.
    """
    with _replacing(Path(path)) as temporary:
        temporary.mkdir()
        yield temporary
        _remove(Path(path))


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise MultidiffError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        ) from None
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    """A file, or a folder with all in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def together(paths: Sequence[Path]) -> Iterator[None]:
    """Files and folders that belong together: when the block fails, those of `paths` that it made are removed again."""
    new = [path for path in paths if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            _remove(path)
        raise


def save_tensors(path: str | Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """A safetensors file, written whole. Raises MultidiffError when the disk refuses."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with written_whole(path) as temporary:
        try:
            save_file(dict(tensors), temporary, dict(metadata))
        except SafetensorError as error:
            raise OSError(None, str(error)) from None
