"""The reader ``tracks``: points of animals, people or things from files of pose tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlar.behaviour.tracks.formats.base import FORMATS
from vlar.behaviour.tracks.recording import load_tracks
from vlar.media.signals import Recorded, SignalReader, head_of
from vlar.registry import register

_EXAMPLE_HZ = 20.0


@register("reader", "tracks")
class TracksReader(SignalReader):
    """Clips of (T, M, V, C) float32 points, NaN where a point is missing.

    ``Clip.meta`` has ``points``, ``animals``, ``unit``, ``bones``, ``rate_hz``, ``repaired``, and
    where the file has it ``confidence`` (T, M, V).
    """

    modality = "tracks"

    @property
    def endings(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The endings of all formats, plain and packed."""
        return FORMATS.endings() | {".xz", ".gz"}

    def claims(self, path: Path) -> bool:
        """A file by its content."""
        if path.suffix.lower() not in self.endings or not path.is_file():
            return False
        head = head_of(path)
        return head is not None and FORMATS.recognised(head) is not None

    def load(self, path: Path) -> Recorded:
        """The one recording of a file, with the layout next to it.

        Raises:
            DecodeError: it cannot be read, or nothing states its frame rate.
        """
        recording = load_tracks(path, None, None)
        tracks = recording.tracks
        meta = {
            "points": tracks.names,
            "animals": tracks.animals,
            "unit": tracks.unit,
            "bones": tracks.bones,
            "front": recording.layout.front,
            "back": recording.layout.back,
            "repaired": recording.repaired,
            **tracks.meta,
        }
        along = {} if tracks.confidence is None else {"confidence": tracks.confidence}
        return Recorded(tracks.points, recording.rate_hz, meta, along)

    def example(self, folder: Path) -> Path:
        """Six seconds of two animals of which one walks up to the other and stays."""
        time_s = np.arange(round(6 * _EXAMPLE_HZ)) / _EXAMPLE_HZ
        way = 200 * np.minimum(time_s / 3, 1)
        step = 4 * np.sin(2 * np.pi * 2 * time_s) * (time_s < 3)
        columns = {"time_s": time_s}
        for animal, x, wave in (("a", 50 + way, step), ("b", np.full(len(time_s), 330.0), 0 * way)):
            for number, point in enumerate(("nose", "middle", "tail")):
                columns[f"{animal}.{point}_x"] = x - 25 * number * (1 if animal == "a" else -1)
                columns[f"{animal}.{point}_y"] = 200 + wave * (1 - number) + 0 * time_s
        lines = [",".join(columns)]
        lines += [",".join(f"{v:.3f}" for v in row) for row in zip(*columns.values(), strict=True)]
        path = folder / "example.csv"
        path.write_text("\n".join(lines) + "\n")
        return path
