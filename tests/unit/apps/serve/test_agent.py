"""The agent interface through the client of the official SDK, in this process."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client
from PIL import Image

from tests import videos
from tests.unit.library.fakes import FakeModel
from vlar.apps.serve.agent import agent_server
from vlar.library.library import Library

from .conftest import Served, serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A library of a model that is made for tests: it is loaded at once."""
    folder = tmp_path_factory.mktemp("agent")
    (folder / "clips").mkdir()
    videos.make_blank_video(folder / "clips" / "moving.mp4", 40, grey=180)
    videos.make_noise_video(folder / "clips" / "noise.mp4", 30)
    with Library(folder / "small.vlar", FakeModel()) as library:
        report = library.add(folder / "clips", tags={"place": "desk"})
        assert report.added == 2, report
    yield from serve(folder / "small.vlar", folder / "clips", folder / "state", FakeModel())


def ask(served: Served, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    async def run() -> list[Any]:
        async with Client(agent_server(served.application)) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(run())


def value(result: Any) -> dict[str, Any]:
    assert not result.is_error, result
    return json.loads(result.content[0].text)


def test_tools_are_listed_with_words_for_each_argument(served: Served):
    async def listed() -> list[Any]:
        async with Client(agent_server(served.application)) as client:
            return (await client.list_tools()).tools

    tools = asyncio.run(listed())
    names = {"search", "classify", "list_rows", "describe_library", "thumbnail"}
    assert {tool.name for tool in tools} == names
    for tool in tools:
        assert tool.description
        assert tool.annotations.read_only_hint
    search = next(tool for tool in tools if tool.name == "search")
    assert "THEN" in search.input_schema["properties"]["query"]["description"]


def test_an_agent_searches_and_looks(served: Served):
    (facts, found, listed) = map(
        value,
        ask(
            served,
            ("describe_library", {}),
            ("search", {"query": "a square", "k": 1, "min_probability": 0}),
            ("list_rows", {"contains": "moving"}),
        ),
    )
    assert facts["library"]["videos"] == 2
    assert facts["library"]["tag_keys"] == ["place"]
    hit = found["hits"][0]
    assert (
        found
        == served.client.post(
            "/api/query", json={"text": "a square", "k": 1, "min_probability": 0}
        ).json()
    )
    assert listed["total"] == 1
    picture, rows = ask(
        served,
        ("thumbnail", {"video": hit["video"], "at_s": hit["start_s"], "width": 64}),
        ("list_rows", {"video": hit["video"]}),
    )
    assert picture.content[0].type == "image"
    image = Image.open(io.BytesIO(base64.b64decode(picture.content[0].data)))
    assert (image.format, image.width) == ("JPEG", 64)
    assert value(rows)["rows"][0]["start_s"] == 0.0


@pytest.mark.slow
def test_an_agent_classifies(made_library, tmp_path, lite_model):
    for served in serve(made_library / "small.vlar", made_library / "clips", tmp_path, lite_model):
        asked = {"video": served.id_of("noise"), "labels": ["noise", "a horse"], "end_s": 0.5}
        (answer,) = ask(served, ("classify", {**asked, "start_s": 0}))
        assert value(answer)["labels"] == ["noise", "a horse"]


def test_errors_are_one_line_that_an_agent_can_act_on(served: Served):
    results = ask(
        served,
        ("search", {"query": '"a" and "b"'}),
        ("search", {"query": "LIKE /etc/passwd"}),
        ("classify", {"labels": ["a"], "path": "/etc/passwd"}),
        ("classify", {"labels": ["a"]}),
        ("thumbnail", {"video": "0" * 20}),
    )
    for result in results:
        assert result.is_error
        assert len(result.content) == 1
        assert "\n" not in result.content[0].text
        assert "Traceback" not in result.content[0].text
    assert "AND" in results[0].content[0].text
    assert "--root" in results[1].content[0].text
