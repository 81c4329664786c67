"""Kinds of work do not wait for each other, and label files are read in a process that ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from vlar.apps.serve.access import Access
from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.http import HttpInterface
from vlar.apps.serve.lanes import BoundedExecutor

from .conftest import HOST, Served
from .test_http import endless, free_within_s, post, refused


@pytest.fixture
def asked(served: Served) -> Iterator[tuple[TestClient, HttpInterface]]:
    """A client that reaches the kinds of work of its server."""
    interface = HttpInterface(served.application, Access(None))
    with TestClient(interface.app(), HOST, raise_server_exceptions=False) as client:
        yield client, interface


@pytest.mark.parametrize("kind", ["labels", "cuts", "exports", "segments", "embeddings"])
def test_pictures_and_reads_are_answered_while_others_are_held(
    asked: tuple[TestClient, HttpInterface], served: Served, kind: str
):
    client, interface = asked
    picture = f"/api/videos/{served.id_of('moving')}/thumbnail"
    lane = interface._lanes[kind]

    async def hold() -> list[int]:
        held = [asyncio.create_task(lane.run(60, endless)) for _ in range(3)]
        await asyncio.sleep(0.1)
        paths = (picture, "/api/videos")
        answers = [await asyncio.to_thread(client.get, path) for path in paths]
        for caller in held:
            caller.cancel()
        return [answer.status_code for answer in answers]

    assert asyncio.run(hold()) == [200, 200]
    assert free_within_s(lane)


def test_a_label_file_that_takes_too_long_ends_with_its_request(served: Served):
    lane, media = BoundedExecutor("labels", 1, 2), served.application.media
    work = partial(media.label_work, Path("a.csv"), time.sleep)

    async def ask() -> None:
        await lane.run(60, work, 0)  # the process has started
        with pytest.raises(ServeError) as problem:
            await lane.run(0.3, work, 60)
        assert problem.value.status == 504

    asyncio.run(ask())
    assert free_within_s(lane)
    assert not media._label_pool._all


def test_a_label_file_that_takes_too_much_memory_is_refused(served: Served):
    media = served.application.media
    with pytest.raises(Exception, match="more than 1 GB of memory"):
        media.label_work(Path("a.csv"), bytearray, 2 * 10**9)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a." + "x" * 480, "?"), ("a.c\0sv", "?"), ("..", "?")],
)
def test_any_name_of_a_label_file_is_answered(served: Served, name: str, text: str):
    body = {"video": served.id_of("moving"), "name": name, "text": text}
    answer = served.client.post("/api/labels/read", json=body)
    refused(answer, 400)
    assert "/tmp" not in answer.text


@pytest.mark.parametrize("form", ["simba", "deepethogram", "cvat", "solomon"])
def test_a_label_of_two_days_is_not_written_frame_by_frame(served: Served, form: str):
    video = served.id_of("noise")
    path = f"videos/{video}/labels"
    rows = [{"start_s": 0, "end_s": 190_000, "label": "rest"}]
    version = served.client.get(f"/api/{path}").json()["version"]
    version = post(served, path, version=version, segments=rows).json()["version"]
    try:
        answer = post(served, "labels/export", form=form, videos=[video], fps=100)
        if form == "solomon":  # its own rate is a frame a second
            assert answer.status_code == 200
        else:
            refused(answer, 400, "write .csv")
    finally:
        post(served, path, version=version, segments=[])
