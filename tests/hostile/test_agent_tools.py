"""Generated calls of every tool of an agent that may write: each is answered or refused in a line.

Nothing outside the folders that were given is read or written, and nothing ends the server.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mcp import Client

from tests import videos
from tests.unit.library.fakes import FakeModel
from vlar.apps.serve.agent import agent_server
from vlar.apps.serve.application import Application
from vlar.library.library import Library

EXAMPLES = 40
EVIL = (
    "/etc/passwd", "../../etc", "\x00", "\x1b[2J", "", " ", "a" * 5000, "\u202egpj", "-rf",
    "$(id)", "<script>", "milvus://x/y", "https://169.254.169.254/", "~root", '"a" AND', "NOT",
)  # fmt: skip
TEXT = st.sampled_from(EVIL) | st.text(max_size=30)
NUMBER = st.sampled_from([0, -1, 1e308, 0.5, 1e-9, 3, 10**20]) | st.floats(allow_nan=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Application]:
    folder = tmp_path_factory.mktemp("agents")
    (folder / "clips").mkdir()
    videos.make_noise_video(folder / "clips" / "$(id) <b>.mp4", 12)
    with Library(folder / "small.vlar", FakeModel()) as library:
        library.add(folder / "clips")
    application = Application(folder / "small.vlar", "lite", folder / "state")
    application.models._own = FakeModel()
    yield folder, application
    application.close()


def value_of(schema: dict[str, Any], known: dict[str, str], name: str) -> st.SearchStrategy[Any]:
    """Values that a schema allows, known ones among them, and some that it does not."""
    kinds = [each.get("type") for each in schema.get("anyOf", [schema])]
    found = [st.just(known[name])] * 3 if name in known else []
    for kind in kinds:
        if kind == "array":
            found.append(st.lists(TEXT, max_size=3))
        elif kind == "object":
            found.append(st.dictionaries(TEXT, TEXT, max_size=2))
        else:
            found.append(NUMBER if kind in ("number", "integer") else TEXT)
    return st.one_of(*found, st.none(), st.just([1]))


def test_no_generated_call_breaks_it(place: tuple[Path, Application], tmp_path: Path):
    folder, application = place
    known = {"video": application.videos()["videos"][0]["video"]}
    before = sorted(folder.rglob("*"))
    seen: Counter[str] = Counter()

    async def run() -> None:
        async with Client(agent_server(application, tmp_path / "cuts")) as client:
            tools = (await client.list_tools()).tools
            for tool in tools:
                shape = st.fixed_dictionaries(
                    {},
                    optional={
                        name: value_of(schema, known, name)
                        for name, schema in tool.input_schema["properties"].items()
                        if name != "wait_s"
                    },
                )
                for number in range(EXAMPLES):
                    arguments = drawn(shape, number)
                    if tool.name == "follow":
                        arguments["wait_s"] = 0
                    result = await client.call_tool(tool.name, arguments)
                    seen["refused" if result.is_error else "answered"] += 1
                    (content,) = result.content
                    text = getattr(content, "text", "")
                    assert "Traceback" not in text
                    assert "pydantic" not in text
                    assert "root:" not in text, (tool.name, arguments)
                    if not result.is_error and content.type == "text":
                        assert "\n" not in text
                        json.loads(text)
            assert len((await client.list_tools()).tools) == len(tools)

    asyncio.run(run())
    assert min(seen["refused"], seen["answered"]) > 10, seen
    written = set(folder.rglob("*")) - set(before)
    assert all("state" in each.parts for each in written), written  # jobs and pictures
    assert len(list((folder / "clips").iterdir())) == 1
    for each in (tmp_path / "cuts").glob("**/*"):
        assert each.suffix == ".mp4"
        assert not set(each.name) & set("$()<> ")


def drawn(shape: st.SearchStrategy[dict[str, Any]], seed: int) -> dict[str, Any]:
    """One value of a strategy, always the same for a seed."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as with_seed

    found: list[dict[str, Any]] = []

    @with_seed(seed)
    @settings(max_examples=3, database=None, suppress_health_check=list(HealthCheck))
    @given(shape)
    def keep(value: dict[str, Any]) -> None:
        found.append(value)

    keep()
    return found[-1]
