"""Model folders of the hub by name: ``hf-hub:ORG/NAME`` or ``hf-hub:ORG/NAME@REVISION``.

A folder that was fetched lies in the cache of vlar under its commit, as plain files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import ModelError, UsageError
from vlar.files.reading import read_file
from vlar.files.resources import cache_dir

PREFIX = "hf-hub:"
COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"hf-hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True)
class HubFolder:
    """A model folder of the hub.

    >>> HubFolder.parse("hf-hub:me/forklifts@v1")
    HubFolder(repository='me/forklifts', revision='v1')

    Attributes:
        repository: Organisation or person, and name.
        revision: Branch, tag or commit; None for the newest.
    """

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubFolder:
        """The folder of a name.

        Raises:
            UsageError: it is not such a name.
        """
        match = _NAME.fullmatch(text)
        if match is None or ".." in text:
            raise UsageError(f"{text[:80]!r} is not hf-hub:ORG/NAME or hf-hub:ORG/NAME@REVISION")
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")

    @property
    def root(self) -> Path:
        """Folder of all its commits in the cache."""
        return cache_dir() / "hub" / self.repository.replace("/", "--")

    @property
    def pointer(self) -> Path:
        """File that holds the commit of the revision."""
        return self.root / "revisions" / (self.revision or "main").replace("/", "--")

    def path(self) -> Path | None:
        """The folder on this disk; None where it was not fetched."""
        try:
            commit = read_file(self.pointer, 64).decode("ascii")
        except (OSError, ValueError):
            return None
        folder = self.root / commit
        return folder if COMMIT.fullmatch(commit) and folder.is_dir() else None

    def require(self) -> Path:
        """The folder on this disk.

        Raises:
            ModelError: it was not fetched.
        """
        path = self.path()
        if path is None:
            raise ModelError(f"{self} is not here; fetch it: vlar models get {self}")
        return path
