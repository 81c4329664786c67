"""Which files a server may touch: those inside its roots, after every link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from vlar.errors import one_line
from vlar.serve.errors import ServeError

_LONGEST = 4096
_WIDEST = 64  # folders that are roots by themselves


class Roots:
    """Folders whose files may be read; links are followed before a path is compared with them.

    Args:
        folders: The roots. One that does not exist is left out.
    """

    def __init__(self, folders: Iterable[str | Path]) -> None:
        real = {Path(os.path.realpath(folder)) for folder in folders}
        self.folders = tuple(sorted(each for each in real if each.is_dir()))

    @classmethod
    def around(cls, recordings: Sequence[str]) -> Roots:
        """The folders that hold some recordings, each as deep as it can be.

        Of more than 64 folders the highest ones that are not the root of the disk are taken.
        """
        folders = {os.path.dirname(path) for path in recordings}  # noqa: PTH120 - many paths
        while len(folders) > _WIDEST:
            higher = {os.path.dirname(folder) for folder in folders}  # noqa: PTH120
            if any(len(Path(folder).parts) < 3 for folder in higher):
                break
            folders = higher
        return cls(folder for folder in folders if len(Path(folder).parts) > 1)

    def real(self, path: str) -> Path:
        """The real path of something inside a root.

        Raises:
            ServeError: 400 where it cannot be a path, 403 outside all roots, 404 where nothing is.
        """
        if not path or "\0" in path or len(path) > _LONGEST:
            raise ServeError(400, f"{path[:80]!r} is not a path", "write one on one line", "path")
        try:
            real = Path(os.path.realpath(os.path.expanduser(path)))  # noqa: PTH111 - one call
        except (OSError, ValueError) as error:
            raise ServeError(400, f"{path[:80]!r}: {error}", "check the path", "path") from error
        if not any(real.is_relative_to(root) for root in self.folders):
            # The same answer whether it exists or not: nobody learns what lies outside.
            error = f"{one_line(path)} lies outside the folders that this server may read"
            raise ServeError(403, error, "start it with --root FOLDER", "outside")
        if not real.exists():
            error = f"{one_line(path)}: no such file"
            raise ServeError(404, error, "check the path", "not_found")
        return real

    def recording(self, path: str) -> Path:
        """The real path of a recording of the library.

        Raises:
            ServeError: 403 outside all roots, 410 where it has moved.
        """
        try:
            return self.real(path)
        except ServeError as problem:
            if problem.status != 404:
                raise
            fix = "index it at its new place: vlar index add LIBRARY FOLDER"
            raise ServeError(410, f"{one_line(path)} has moved", fix, "moved") from problem


def open_inside(path: Path) -> int:
    """A descriptor of a regular file, opened without waiting and without following a last link.

    Raises:
        ServeError: it is gone or not a regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        fix = "index it at its new place: vlar index add LIBRARY FOLDER"
        raise ServeError(410, f"{path}: {error.strerror}", fix, "moved") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ServeError(415, f"{path} is not a file", "ask for its span instead", "type")
    return descriptor
