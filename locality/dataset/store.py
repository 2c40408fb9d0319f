"""Where a data set lies: a directory here, or an object store by one of pyarrow's file systems."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from locality.dataset.schema import KEY
from locality.errors import LocalityError
from locality.files import reason
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Store(Protocol):
    """What an export needs of it."""

    def note(self, folders: Sequence[str], name: str) -> bytes | None:
        """What the file of this name says of itself (`KEY`); None: there is none."""
        ...

    def elsewhere(self, folders: Sequence[str], name: str) -> Sequence[str] | None:
        """The folders of a file of this name below the first folder; None: only these, or none."""
        ...

    def write(self, folders: Sequence[str], name: str, contents: bytes) -> None:
        """Write a file, whole or not at all; one of that name is replaced."""
        ...


def store_of(place: str) -> Store:
    """The store behind a directory or a URI, such as ``s3://bucket/locality``."""
    if not is_uri(place):
        return Directory(Path(place))
    filesystem, path = filesystem_of(place)
    return Objects(filesystem, path)


def is_uri(place: str) -> bool:
    """Whether this is a URI and not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place) is not None


def filesystem_of(place: str) -> tuple[pa.fs.FileSystem, str]:
    """The file system of a URI, and the path in it.

    Raises:
        LocalityError: pyarrow knows none.
    """
    try:
        filesystem, path = pa.fs.FileSystem.from_uri(place)
    except (pa.ArrowException, OSError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise LocalityError(f"cannot use {printable(place)} as a data set: {said}") from None
    return filesystem, str(path)


class Directory:
    """A directory of this machine, which is made if need be.

    As root this may write into a directory of somebody else. Below the directory no link is
    followed, and a file is made under a name that nobody can know before. Only the owner may read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def note(self, folders: Sequence[str], name: str) -> bytes | None:
        """See `Store`."""
        path = self._root.joinpath(*folders, name)
        try:
            folder = self._open(folders)
        except OSError:
            return None
        try:
            descriptor = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(path, error) from None
        finally:
            os.close(folder)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise LocalityError(f"cannot write {printable(str(path))}: it is no regular file")
            return note_of(file)

    def elsewhere(self, folders: Sequence[str], name: str) -> Sequence[str] | None:
        """See `Store`."""
        day, *own = folders
        try:
            for cluster in self._names([day]):
                for host in self._names([day, cluster]):
                    if [cluster, host] != own and self._has([day, cluster, host], name):
                        return [day, cluster, host]
        except OSError as error:
            raise _refused(self._root / day, error) from None
        return None

    def _names(self, folders: Sequence[str]) -> list[str]:
        """The names in a folder; none if it is a file, a link, or not there."""
        try:
            folder = self._open(folders)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if error.errno == errno.ELOOP:
                return []
            raise
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 - pathlib has no descriptors
        finally:
            os.close(folder)

    def _has(self, folders: Sequence[str], name: str) -> bool:
        """Whether a folder has such a file."""
        try:
            folder = self._open(folders)
        except OSError:
            return False
        try:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        finally:
            os.close(folder)
        return True

    def write(self, folders: Sequence[str], name: str, contents: bytes) -> None:
        """See `Store`."""
        path = self._root.joinpath(*folders, name)
        try:
            with suppress(FileExistsError):
                self._root.mkdir(mode=0o700, parents=True)
            folder = self._open(folders, make=True)
            try:
                self._replace(folder, name, contents)
            finally:
                os.close(folder)
        except (OSError, ValueError) as error:
            raise _refused(path, error) from None

    def _replace(self, folder: int, name: str, contents: bytes) -> None:
        new = f".{secrets.token_hex(8)}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(contents)
                file.flush()
                os.fsync(file.fileno())
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise

    def _open(self, folders: Sequence[str], *, make: bool = False) -> int:
        """A descriptor of a folder below the directory."""
        here = os.open(self._root, _FOLDER)
        for folder in folders:
            try:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(folder, 0o700, dir_fd=here)
                below = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            finally:
                os.close(here)
            here = below
        return here


class Objects:
    """A file system of pyarrow, such as an object store: a file appears when it is closed."""

    def __init__(self, filesystem: pa.fs.FileSystem, root: str) -> None:
        self._filesystem, self._root = filesystem, root.rstrip("/")

    def note(self, folders: Sequence[str], name: str) -> bytes | None:
        """See `Store`."""
        path = "/".join([self._root, *folders, name])
        try:
            if self._filesystem.get_file_info(path).type == pa.fs.FileType.NotFound:
                return None
            with self._filesystem.open_input_file(path) as file:
                return note_of(file)
        except (pa.ArrowException, OSError) as error:
            raise _refused(path, error) from None

    def elsewhere(self, folders: Sequence[str], name: str) -> Sequence[str] | None:
        """See `Store`."""
        day = f"{self._root}/{folders[0]}"
        try:
            files = self._filesystem.get_file_info(
                pa.fs.FileSelector(day, recursive=True, allow_not_found=True)
            )
        except (pa.ArrowException, OSError) as error:
            raise _refused(day, error) from None
        for file in files:
            found: list[str] = file.path.removeprefix(f"{self._root}/").split("/")
            if file.is_file and found[-1] == name and found[:-1] != [*folders]:
                return found[:-1]
        return None

    def write(self, folders: Sequence[str], name: str, contents: bytes) -> None:
        """See `Store`."""
        path = "/".join([self._root, *folders, name])
        try:
            self._filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with self._filesystem.open_output_stream(path) as file:
                file.write(contents)
        except (pa.ArrowException, OSError) as error:
            raise _refused(path, error) from None


def note_of(file: object) -> bytes:
    """What a file of a data set says of itself; empty if it is none."""
    try:
        metadata = pq.read_metadata(file).metadata or {}
    except (pa.ArrowException, OSError):
        return b""
    return bytes(metadata.get(KEY, b""))


def _refused(path: Path | str, error: Exception) -> LocalityError:
    said = reason(error) if isinstance(error, OSError | ValueError) else str(error)
    return LocalityError(f"cannot write {printable(str(path))}: {said.splitlines()[0]}")
