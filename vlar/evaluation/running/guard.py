"""The guard between test clips and everything that learns.

What learns takes a ``FitSet``. Only a ``Guard`` makes one, and it knows every test clip by content:
a copy under another name, or a span that overlaps a test span of the same recording, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import ProtocolError, VlarError
from vlar.fewshot.support import SupportItem
from vlar.types import Window
from vlar.video.checksum import content_hash

_SEAL = object()
_NAMED = 3


@dataclass(frozen=True)
class FitSet:
    """Clips that a model may learn from; made by ``Guard.fit_set`` alone.

    Attributes:
        labels: C labels, each with a clip.
        items: The clips.
    """

    labels: tuple[str, ...]
    items: tuple[SupportItem, ...]
    seal: object = None

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise ProtocolError(
                "clips to learn from must come from Guard.fit_set, which checks them"
            )


class ContentIds:
    """The content of recordings, read once each."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], str] = {}

    def of(self, path: Path) -> str:
        """SHA-256 of a recording; its path where it cannot be read, which reading will report."""
        try:
            status = path.stat()
            key = (path, status.st_size, status.st_mtime_ns)
            if key not in self._known:
                self._known[key] = content_hash(path)
            return self._known[key]
        except (OSError, VlarError):
            return str(path)


class Guard:
    """Knows the test clips of a run.

    Args:
        content: Names the content of a recording.
    """

    def __init__(self, content: Callable[[Path], str]) -> None:
        self._content = content
        self._test: dict[str, list[Window | None]] = {}

    def protect(self, items: Iterable[SupportItem]) -> None:
        """These clips are test clips from now on."""
        for item in items:
            self._test.setdefault(self._content(item.path), []).append(item.window)

    def fit_set(self, items: Sequence[SupportItem]) -> FitSet:
        """Clips that may be learned from.

        Raises:
            ProtocolError: one of them is a test clip, or a label stands alone.
        """
        leaked = [item for item in items if self._is_test(item)]
        if leaked:
            named = ", ".join(str(item.path) for item in leaked[:_NAMED])
            raise ProtocolError(
                f"{len(leaked)} of {len(items)} clips to learn from are test clips ({named}); fit "
                "on the training clips alone"
            )
        labels = tuple(sorted({label for item in items for label in item.labels}))
        if len(labels) < 2:
            raise ProtocolError(
                f"the clips to learn from show {len(labels)} label: {', '.join(labels) or 'none'}; "
                "at least two are needed"
            )
        return FitSet(labels, tuple(items), _SEAL)

    def _is_test(self, item: SupportItem) -> bool:
        spans = self._test.get(self._content(item.path), ())
        return any(_overlap(item.window, span) for span in spans)


def _overlap(a: Window | None, b: Window | None) -> bool:
    return a is None or b is None or (a.start_s < b.end_s and b.start_s < a.end_s)
