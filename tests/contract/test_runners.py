"""Every registered runner gives the rows of an ``add`` in this process, with everything beside."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import (
    ConditionedFake,
    FakeModel,
    load_conditioned,
    load_fake,
    store_of,
    tiny_video,
)
from vlar import registry
from vlar.errors import UsageError
from vlar.library.ingest.runners.base import Runner, RunnerOptions
from vlar.library.library import Library

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")
WITHOUT_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
SHIPPED = [
    pytest.param(name, marks=[pytest.mark.slow, WITHOUT_RAY] if name == "ray" else [])
    for name in registry.names("runner")
]


def made(name: str, load: Any = load_fake) -> Runner:
    runner = registry.get("runner", name).from_options(RunnerOptions())
    if not runner.in_process:
        runner.load = load
    return runner


def state(library: Library) -> dict[str, Any]:
    """All that an ``add`` writes, but for ids and the time of writing."""
    store = store_of(library)
    rows: Any = store.fetch(  # pyright: ignore[reportAttributeAccessIssue]
        "SELECT path, start_s, end_s, vector, rows.id FROM rows JOIN videos ON videos.id = "
        "video_id ORDER BY path, start_s"
    )
    ids, contexts = store.contexts([row[4] for row in rows])
    kept = dict(zip(ids.tolist(), (each.tobytes() for each in contexts), strict=True))
    return {
        "rows": {row[:3]: np.frombuffer(row[3], np.float16) for row in rows},
        "contexts": [kept.get(row[4]) for row in rows],
        "videos": [(v.path, v.duration_s, v.windows, v.tags) for v in library.videos()],
        "known": sorted((v.path, v.content_hash, v.stamp) for v in store.recordings()),
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["rows"].keys() == other["rows"].keys()
    for key, vector in one["rows"].items():
        assert np.abs(vector.astype(float) - other["rows"][key].astype(float)).max() <= 1e-6
    for what in ("contexts", "videos", "known"):
        assert one[what] == other[what], what


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """New, equal, damaged and empty files of several lengths."""
    videos = tmp_path / "videos"
    for number in range(5):
        tiny_video(videos / f"{number}.mp4", number, 4 + 5 * number)
    tiny_video(videos / "long.mp4", 8, 80)  # more windows than one part holds
    shutil.copy(videos / "3.mp4", videos / "copy.mp4")
    (videos / "damaged.mp4").write_bytes(b"no video")
    (videos / "empty.mp4").touch()
    return videos


@pytest.mark.parametrize("name", SHIPPED)
def test_rows_report_and_every_change_are_those_of_this_process(
    name: str, tmp_path: Path, folder: Path
):
    with (
        Library(tmp_path / "plain.vlar", FakeModel()) as plain,
        Library(tmp_path / "other.vlar", FakeModel()) as other,
    ):

        def both(**options: Any) -> None:
            tags = {"place": "gym"}
            expected = plain.add(folder, tags=tags, **options)
            found = other.add(folder, tags=tags, runner=made(name), **options)
            assert found.to_dict() | {"failed": []} == expected.to_dict() | {"failed": []}
            assert sorted(each.message for each in found.failed) == sorted(
                each.message for each in expected.failed
            )
            assert_same(state(plain), state(other))

        both()
        (folder / "1.mp4").rename(folder / "renamed.mp4")
        shutil.copy(folder / "2.mp4", folder / "copy 2.mp4")
        tiny_video(folder / "0.mp4", 77)
        os.utime(folder / "4.mp4", (1, 1))
        both(skip_still=True)
        assert other.verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_contexts_are_kept_and_another_model_is_refused(name: str, tmp_path: Path, folder: Path):
    with (
        Library(tmp_path / "plain.vlar", ConditionedFake()) as plain,
        Library(tmp_path / "other.vlar", ConditionedFake()) as other,
    ):
        plain.add(folder)
        other.add(folder, runner=made(name, load_conditioned))
        assert other.info().context_rows > 0
        assert_same(state(plain), state(other))


@pytest.mark.parametrize("name", SHIPPED)
def test_options_of_another_runner_are_refused(name: str):
    part = registry.get("runner", name)
    assert part.name == name
    everything = RunnerOptions("host:1", 2, 0.5, ("cpu",), "cpu")
    refused(UsageError, "is not for runner", part.from_options, everything)
