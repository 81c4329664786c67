"""The agent interface through the client of the official SDK, in this process."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from PIL import Image

from tests import videos
from tests.unit.library.fakes import FakeModel
from vlar.apps.serve.agent import agent_server
from vlar.apps.serve.agent_tools import compact, named
from vlar.apps.serve.library import RequestedRecording
from vlar.cancellation import check
from vlar.library.library import Library
from vlar.media.video.source import probe

from .conftest import Served, serve

READING = {
    *("describe_library", "tags", "search", "concepts", "classify", "list_recordings"),
    "list_windows",
    *("persons", "thumbnail", "sheet"),
}


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
    assert {tool.name for tool in tools} == READING
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
            ("list_recordings", {"contains": "moving"}),
        ),
    )
    assert facts["library"]["videos"] == 2
    assert facts["library"]["tag_keys"] == ["place"]
    hit = found["hits"][0]
    asked = {"text": "a square", "k": 1, "min_probability": 0}
    assert found == compact(served.client.post("/api/query", json=asked).json())
    assert hit["probability"] == round(hit["probability"], 3)
    assert listed["total"] == 1
    picture, rows = ask(
        served,
        ("thumbnail", {"video": hit["video"], "at_s": hit["start_s"], "width": 64}),
        ("list_windows", {"video": hit["video"]}),
    )
    assert picture.content[0].type == "image"
    image = Image.open(io.BytesIO(base64.b64decode(picture.content[0].data)))
    assert (image.format, image.width) == ("JPEG", 64)
    assert value(rows)["windows"][0][0] == 0.0


def test_what_a_library_is_fits_into_600_bytes(served: Served, monkeypatch: pytest.MonkeyPatch):
    whole = served.application.describe()
    whole["roots"] = [f"/example/{'long' * 20}/{number}" for number in range(40)]
    whole["library"]["tag_keys"] = [f"key{number}" for number in range(400)]
    (small,) = ask(served, ("describe_library", {}))
    assert len(small.content[0].text.encode()) <= 400
    monkeypatch.setattr(served.application, "describe", lambda: whole)
    (large,) = ask(served, ("describe_library", {}))
    assert len(large.content[0].text.encode()) <= 600
    facts = value(large)
    assert facts["more_roots"] == 40
    assert len(facts["library"]["tag_keys"]) + facts["library"]["more_tag_keys"] == 400


def test_an_argument_of_another_name_is_named(served: Served):
    wrong, none = ask(served, ("search", {"text": "x"}), ("tags", {"x": 1}))
    takes = "it takes query, k, where, min_probability, yes, no, miss, only, one_per_recording"
    assert wrong.content[0].text.endswith(f"search: 'text' is not an argument; {takes}")
    assert none.content[0].text.endswith("tags: 'x' is not an argument; it takes none")


def test_a_sheet_shows_a_span_and_tags_have_their_values(served: Served):
    video = served.id_of("noise")
    sheet, none, tags = ask(
        served,
        ("sheet", {"video": video, "start_s": 0, "end_s": 1, "pictures": 5}),
        ("sheet", {"video": video, "start_s": 1, "end_s": 0}),
        ("tags", {}),
    )
    image = Image.open(io.BytesIO(base64.b64decode(sheet.content[0].data)))
    one = Image.open(io.BytesIO(served.application.thumbnail(video, 0.1, 320)))
    assert image.size == (3 * one.width, 2 * one.height)
    assert none.is_error
    assert value(tags) == {"place": {"desk": 2}}


def test_answers_are_compact_json_once(served: Served):
    (result,) = ask(served, ("list_recordings", {}))
    assert result.structured_content is None
    (content,) = result.content
    assert content.text == json.dumps(json.loads(content.text), separators=(",", ":"))


def test_what_a_library_without_people_answers(served: Served):
    (result,) = ask(served, ("persons", {"video": served.id_of("noise")}))
    assert result.is_error
    assert "--persons" in result.content[0].text


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_the_protocol_of_2026_and_the_one_before_it(served: Served, mode: str, version: str):
    async def negotiated() -> tuple[str, str]:
        async with Client(agent_server(served.application), mode=mode) as client:
            found = await client.call_tool("tags", {})
            return client.protocol_version, found.content[0].text

    assert asyncio.run(negotiated()) == (version, '{"place":{"desk":2}}')


def test_writing_is_off_unless_it_is_asked_for(served: Served, tmp_path: Path):
    async def listed(cuts: Path | None) -> dict[str, Any]:
        async with Client(agent_server(served.application, cuts)) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    assert asyncio.run(listed(None)).keys() == READING
    every = asyncio.run(listed(tmp_path))
    assert every.keys() - READING == {"add", "follow", "cancel", "cut", "teach"}
    assert not every["add"].annotations.read_only_hint
    for name in ("add", "cut", "cancel"):
        (result,) = ask(served, (name, {}))
        assert result.is_error
        assert "Unknown tool" in result.content[0].text


def test_an_agent_adds_follows_cancels_and_cuts(served: Served, tmp_path: Path):
    async def run() -> list[Any]:
        async with Client(agent_server(served.application, tmp_path / "cuts")) as client:
            job = value(await client.call_tool("add", {"paths": [str(served.folder)]}))
            found = value(await client.call_tool("follow", {"job": job["id"], "wait_s": 30}))
            again = await client.call_tool("cancel", {"job": job["id"]})
            listed = value(await client.call_tool("follow", {}))
            span = {"video": served.id_of("moving"), "start_s": 0.0, "end_s": 0.5}
            cut = value(await client.call_tool("cut", span))
            outside = await client.call_tool("add", {"paths": ["/etc"]})
            return [job, found, again, listed, cut, outside]

    job, found, again, listed, cut, outside = asyncio.run(run())
    assert job["state"] in ("queued", "running", "failed")
    assert found["state"] in ("done", "failed")  # the model of the tests is not one of a process
    assert again.is_error
    assert listed["jobs"][0]["id"] == job["id"]
    assert probe(cut["path"]).duration_s == pytest.approx(0.5, abs=0.1)
    assert Path(cut["path"]).parent == tmp_path / "cuts"
    assert outside.is_error
    assert "--root" in outside.content[0].text


NETWORK = re.compile(r"\b(GET|POST|HTTP|request|status)\b|/api/")


def test_tools_and_errors_have_no_words_of_the_network(served: Served, tmp_path: Path):
    async def texts() -> list[str]:
        async with Client(agent_server(served.application, tmp_path)) as client:
            tools = (await client.list_tools()).tools
            wrong = [
                await client.call_tool("thumbnail", {"video": "0" * 20}),
                await client.call_tool("cancel", {"job": "0" * 16}),
                await client.call_tool("follow", {"job": "x"}),
                await client.call_tool("classify", {"labels": ["a"]}),
                await client.call_tool("describe_library", {}),
            ]
            found = [json.dumps(tool.model_dump(mode="json")) for tool in tools]
            return [*found, *(each.content[0].text for each in wrong), client.instructions or ""]

    for text in asyncio.run(texts()):
        assert not NETWORK.search(text), text


@pytest.mark.slow
def test_an_agent_classifies(made_library, tmp_path, lite_model):
    for served in serve(made_library / "small.vlar", made_library / "clips", tmp_path, lite_model):
        asked = {"video": served.id_of("noise"), "labels": ["noise", "a horse"], "end_s": 0.5}
        (answer,) = ask(served, ("classify", {**asked, "start_s": 0}))
        assert value(answer)["labels"] == ["noise", "a horse"]
        (hits,) = ask(served, ("search", {"query": "a picture of noise", "min_probability": 0}))
        served.application.teach(
            "noise", "a picture of noise", [value(hits)["hits"][-1]["row"]], ()
        )
        (taught,) = ask(served, ("classify", {**asked, "start_s": 0}))  # a concept by its name
        shares = [
            {row["label"]: row["probability"] for row in value(each)["answers"][0]["predictions"]}
            for each in (answer, taught)
        ]
        assert shares[0]["noise"] != shares[1]["noise"]


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


def test_a_tool_ends_with_its_time():
    from mcp.server.mcpserver.exceptions import ToolError

    def endless() -> None:
        while True:
            check()

    with pytest.raises(ToolError, match=r"no answer within 0\.05 s"):
        named(endless, 0.05)()


def test_a_file_name_is_a_recording_and_errors_have_no_prefix(
    served: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    named, listed, *wrong = ask(
        served,
        ("list_windows", {"video": "moving.mp4"}),
        ("list_recordings", {"contains": "moving"}),
        ("list_windows", {"video": "absent.mp4"}),
        ("classify", {"labels": ["a", "b"], "path": "absent.mp4"}),
        ("search", {"query": "a AND ("}),
    )
    assert value(named)["path"] == value(listed)["videos"][0]["path"]
    source = RequestedRecording(path="moving.mp4")
    assert served.application.sources.find(source)[0] == served.folder / "moving.mp4"
    texts = [result.content[0].text for result in wrong]
    assert texts[0] == "no recording 'absent.mp4' in the library; list them with list_recordings"
    assert texts[1].startswith("absent.mp4 lies outside the folders")
    assert texts[2].startswith("query, character 7: the bracket")
    assert "INFO" not in capfd.readouterr().err
    (tmp_path / "moving.mp4").write_bytes((served.folder / "moving.mp4").read_bytes())
    with Library(served.library, FakeModel()) as library:
        library.add(tmp_path)
        (twice,) = ask(served, ("list_windows", {"video": "moving.mp4"}))
        library.remove([str(tmp_path / "moving.mp4")])
    text = "2 recordings are called moving.mp4; list them with list_recordings"
    assert twice.content[0].text == text
