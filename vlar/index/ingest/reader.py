"""The reading half of an ``add``: files to clips, ahead of the encoder, in one thread."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import VlarError
from vlar.index.paths import place
from vlar.index.store.database import KnownVideo, Stamp
from vlar.types import Clip, Failure, Window
from vlar.video import content_hash, probe, read_windows, windows


@dataclass(frozen=True)
class Cut:
    """How videos are cut into rows: windows, T frames each, shrunk to ``shorter_side`` pixels.

    Besides, windows ``long_times`` as long and as far apart; 1 for none.
    """

    window_s: float
    stride_s: float
    n_frames: int
    shorter_side: int
    long_times: float = 1.0

    def spans(self, duration_s: float) -> list[Window]:
        """The windows of a video, those of the first scale first; none twice."""
        spans = windows(duration_s, self.window_s, self.stride_s)
        if self.long_times > 1.0 and duration_s > self.window_s:
            times = self.long_times
            spans += windows(duration_s, times * self.window_s, times * self.stride_s)
        return spans


@dataclass(frozen=True)
class Seen:
    """A file is there; ``same`` tells that its content is what the library holds for its path.

    ``duration_s`` is None for a file whose content needs no decoding.
    """

    path: str
    stamp: Stamp
    content_hash: str
    same: bool
    duration_s: float | None


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be indexed at all."""

    failure: Failure


@dataclass(frozen=True)
class End:
    """No more clips of this video follow."""


Item = Seen | Unreadable | Clip | Failure | End


def weight(item: Item) -> int:
    """Bytes an item holds while it waits."""
    return item.data.nbytes if isinstance(item, Clip) else 0


def stamp_of(path: Path) -> Stamp:
    """Size and time of a file; of a folder of pictures: their sum and their latest.

    Raises:
        OSError: not there.
    """
    status = path.stat()
    if not path.is_dir():
        return Stamp(status.st_size, status.st_mtime_ns)
    inside = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
    latest = max((s.st_mtime_ns for s in inside), default=0)
    return Stamp(sum(s.st_size for s in inside), max(latest, status.st_mtime_ns))


def read_ahead_of_encoder(
    files: Sequence[Path], known: Mapping[str, KnownVideo], cut: Cut
) -> Iterator[Item]:
    """For each file one ``Unreadable``, or one ``Seen`` with its clips up to an ``End``.

    Clips come only for content that is neither known nor seen before in this call.

    Args:
        files: The videos.
        known: The library's videos by path.
        cut: Windows and frames.
    """
    contents = Counter(video.content_hash for video in known.values())
    for file in files:
        old = known.get(place(file))
        try:
            seen = _look(file, old, contents)
        except VlarError as error:
            yield Unreadable(Failure(file, error.kind, error.message))
            continue
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"{file}: cannot be read ({reason}); check the path and its permissions"
            yield Unreadable(Failure(file, "decode", message))
            continue
        yield seen
        if seen.duration_s is not None:
            yield from _clips(file, seen.duration_s, cut)
        # From here on this path stands for its new content: the old one may have no other place.
        contents[seen.content_hash] += 1
        if old is not None:
            contents[old.content_hash] -= 1
        yield End()


def _clips(file: Path, duration_s: float, cut: Cut) -> Iterator[Clip | Failure]:
    try:
        yield from read_windows(
            file, cut.spans(duration_s), cut.n_frames, shorter_side=cut.shorter_side
        )
    except VlarError as error:
        yield Failure(file, error.kind, error.message)
    except OSError as error:
        yield Failure(file, "decode", f"{file}: reading stopped ({error}); check its disk")


def _look(file: Path, known: KnownVideo | None, contents: Counter[str]) -> Seen:
    path = place(file)
    try:
        path.encode()
    except UnicodeEncodeError:
        message = f"{file!s}: the file name is not valid UTF-8; rename the file"
        raise VlarError(message.encode(errors="replace").decode()) from None
    stamp = stamp_of(file)
    if known is not None and known.stamp == stamp:
        return Seen(path, stamp, known.content_hash, same=True, duration_s=None)
    digest = content_hash(file)
    same = known is not None and known.content_hash == digest
    needs_clips = not same and contents[digest] <= 0
    duration_s = probe(file).duration_s if needs_clips else None
    return Seen(path, stamp, digest, same=same, duration_s=duration_s)
