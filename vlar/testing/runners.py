"""The contract of a runner, as a check: the rows of an ``add`` in this process, and no others."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.errors import VlarError
from vlar.library.ingest.runners.base import Runner
from vlar.library.library import Library
from vlar.library.model_provider import LoadModel
from vlar.testing.contract import name_of, refused, registered, run, skip
from vlar.testing.material import PictureModel, connection_of, load_picture_model, tiny_video


@dataclass
class RunnerMaterial:
    """A runner and recordings for it.

    Attributes:
        cls: Its class.
        load: Loads the model in a worker.
        folder: Recordings: new, equal, damaged and empty ones of several lengths.
    """

    cls: type[Runner]
    load: Any
    folder: Path

    def make(self) -> Runner:
        """A runner; it lives as long as one ``add``."""
        runner = self.cls.from_spec("")
        if not runner.in_process:
            runner.load = self.load
        return runner


def check_runner(part: Any, *, load: LoadModel | None = None) -> None:
    """Try a runner on nine recordings, and again after five changes.

    Args:
        part: The runner: a class, or a registered name.
        load: Loads a model in a worker; default a ``vlar.testing.material.PictureModel``, which
            workers can import.

    Raises:
        AssertionError: it breaks the contract of ``vlar.library.ingest.runners.base.Runner``.
        unittest.SkipTest: workers need a POSIX system.
    """
    part = registry.get("runner", part) if isinstance(part, str) else part
    cls: type[Runner] = part if isinstance(part, type) else type(part)
    name = name_of("runner", cls)
    if os.name != "posix":
        raise skip("workers need a POSIX system")
    with tempfile.TemporaryDirectory() as folder, registered("runner", name, cls):
        material = RunnerMaterial(cls, load or load_picture_model, Path(folder))
        run("runner", name, STEPS, material)


def recordings(folder: Path) -> Path:
    """New, equal, damaged and empty files of several lengths, in a new folder."""
    for number in range(5):
        tiny_video(folder / f"{number}.mp4", number, 4 + 5 * number)
    tiny_video(folder / "long.mp4", 8, 80)  # more windows than one part holds
    shutil.copy(folder / "3.mp4", folder / "copy.mp4")
    (folder / "damaged.mp4").write_bytes(b"no video")
    (folder / "empty.mp4").touch()
    return folder


def state(library: Library) -> dict[str, Any]:
    """All that an ``add`` writes, but for ids and the time of writing."""
    store: Any = connection_of(library).nonempty()[0]
    rows = store.fetch(
        "SELECT path, start_s, end_s, vector, rows.id FROM rows JOIN videos ON videos.id = "
        "video_id ORDER BY path, start_s"
    )
    ids, contexts = store.contexts([row[4] for row in rows])
    by_id = dict(zip(ids.tolist(), (one.tobytes() for one in contexts), strict=True))
    return {
        "rows": {row[:3]: np.frombuffer(row[3], np.float16) for row in rows},
        "contexts": [by_id.get(row[4]) for row in rows],
        "videos": [(v.path, v.duration_s, v.windows, v.tags) for v in library.videos()],
        "known": sorted((v.path, v.content_hash, v.stamp) for v in store.recordings()),
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Assertion that two libraries hold the same, vectors within 1e-6."""
    assert one["rows"].keys() == other["rows"].keys()
    for key, vector in one["rows"].items():
        assert np.abs(vector.astype(float) - other["rows"][key].astype(float)).max() <= 1e-6
    for name in ("contexts", "videos", "known"):
        assert one[name] == other[name], f"other {name}"


def _options(m: RunnerMaterial) -> None:
    """Options that it does not have are refused, so that none is ignored."""
    assert registry.get("runner", m.cls.name) is m.cls, f"name {m.cls.name!r}"
    refused(VlarError, "", m.cls.from_spec, "?no_such_option=1")


def _rows(m: RunnerMaterial) -> None:
    """Rows, report and every change are those of an add in this process."""
    folder = recordings(m.folder / "videos")
    with (
        Library(m.folder / "plain.vlar", PictureModel()) as plain,
        Library(m.folder / "other.vlar", PictureModel()) as other,
    ):
        _add_to_both(plain, other, m, folder)
        (folder / "1.mp4").rename(folder / "renamed.mp4")
        shutil.copy(folder / "2.mp4", folder / "copy 2.mp4")
        tiny_video(folder / "0.mp4", 77)
        os.utime(folder / "4.mp4", (1, 1))
        _add_to_both(plain, other, m, folder, skip_still=True)
        assert other.verify() == []


def _add_to_both(
    plain: Library, other: Library, m: RunnerMaterial, folder: Path, **options: Any
) -> None:
    tags = {"place": "gym"}
    expected = plain.add(folder, tags=tags, **options)
    report = other.add(folder, tags=tags, runner=m.make(), **options)
    assert report.to_dict() | {"failed": []} == expected.to_dict() | {"failed": []}
    messages = [sorted(row.message for row in one.failed) for one in (report, expected)]
    assert messages[0] == messages[1]
    assert_same(state(plain), state(other))


STEPS = (_options, _rows)
