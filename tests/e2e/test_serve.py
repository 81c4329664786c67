"""``vlar serve`` and ``vlar mcp`` as processes: alone, and several on one library."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import videos

from .conftest import COMMAND
from .serving import Server, serving

FAULTY = Path(__file__).resolve().parents[1] / "faulty_decoder"

TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture(scope="module")
def library(vlar_command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "clips").mkdir()
    videos.make_video(folder / "clips" / "moving.mp4", 40)
    done = vlar_command("index", "add", folder / "small.vlar", folder / "clips", "--tag", "a=b")
    assert done.code == 0
    return folder / "small.vlar"


def test_it_prints_its_address_answers_and_ends_with_ctrl_c(library: Path, tmp_path: Path):
    with serving(library, tmp_path / "state") as server:
        assert server.address.startswith("http://127.0.0.1:")
        status, found = server.ask("api/query", {"text": "a square", "min_probability": 0})
        assert status == 200
        assert found["hits"][0]["path"].endswith("moving.mp4")
        status, problem = server.ask("api/query", {"text": "LIKE /etc/hostname"})
        assert (status, problem["kind"]) == (403, "outside")
        port = int(server.address.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(b"GET /api/library HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            assert b" 421 " in raw.recv(200)
        with socket.create_connection(("127.0.0.1", port)) as raw:  # it leaves in the middle
            head = f"POST /api/uploads HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            raw.sendall(f"{head}Content-Length: 90000\r\n\r\n".encode() + bytes(100))
        assert server.ask("api/health")[0] == 200
        assert server.stop() == 0
    text = "".join(server.errors)
    assert "only this machine can reach it" in text
    assert "Traceback" not in text
    assert not list((tmp_path / "state" / "uploads").iterdir())


def test_a_token_is_required_and_never_printed(library: Path, tmp_path: Path):
    with serving(library, tmp_path / "state", "-v", VLAR_TOKEN=TOKEN) as server:
        assert server.ask("api/health")[0] == 200
        assert server.ask("api/library")[0] == 401
        assert server.ask("api/library", headers={"authorization": "Bearer wrong"})[0] == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert server.ask("api/library", headers=bearer)[0] == 200
        assert server.ask("api/session", {"token": "wrong-token-0123456789"})[0] == 401
        assert server.ask("api/session", {"token": TOKEN})[0] == 200
        server.stop()
    text = "".join(server.errors)
    assert "a token is required" in text
    assert TOKEN not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0"), "token is required"),
        (("--host", "192.0.2.1", "--token-file", "t.txt"), "cannot listen"),
        (("--port", "{taken}"), "--port 0"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    vlar_command, library: Path, tmp_path: Path, options, words
):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        given = [each.replace("{taken}", port) for each in options]
        done = vlar_command("serve", library, "--state", tmp_path / "s", *given, folder=tmp_path)
    assert done.code == 2
    assert words in done.advice


@pytest.mark.slow
def test_a_decoder_that_crashes_or_hangs_ends_one_request(library: Path, tmp_path: Path):
    """Files of these names make the decoder abort or hang, in every process."""
    clips = library.parent / "clips"
    for name in ("abort", "hang"):
        shutil.copy(clips / "moving.mp4", tmp_path / f"{name}.mp4")
    folders = [str(FAULTY), *filter(None, [os.environ.get("PYTHONPATH")])]
    options = ("--root", tmp_path, "--root", clips)
    with serving(library, tmp_path / "s", *options, PYTHONPATH=os.pathsep.join(folders)) as server:
        server.wait_until_ready()
        for name, status in (("abort", 422), ("hang", 504)):
            path = str(tmp_path / f"{name}.mp4")
            body = {"source": {"path": path}, "labels": ["a square"]}
            answer = server.ask("api/classify", body)
            assert (answer[0], set(answer[1])) == (status, {"error", "fix", "kind"}), answer
            assert server.ask("api/query", {"text": f'LIKE "{path}"'})[0] == status
        found = server.ask("api/query", {"text": "a square", "min_probability": 0})
        assert found[0] == 200
        video = found[1]["hits"][0]["video"]
        assert server.ask(f"api/videos/{video}/rows")[0] == 200
        assert server.process.poll() is None


@pytest.mark.slow
def test_a_killed_server_resumes_its_job(vlar_command, library: Path, tmp_path: Path):
    copy, more, state = tmp_path / "copy.vlar", tmp_path / "more", tmp_path / "state"
    shutil.copytree(library, copy)
    more.mkdir()
    for number in range(5):
        own = partial(_noise, 1000 * number)
        videos.make_video(more / f"{number}.mp4", 30, picture=own)
    with serving(copy, state, "--root", more) as server:
        job = server.ask("api/jobs", {"paths": [str(more)]})[1]["id"]
        _wait(lambda: server.ask(f"api/jobs/{job}")[1]["done"])
        server.process.kill()
        server.process.wait(10)
    with serving(copy, state, "--root", more) as server:
        _wait(lambda: server.ask(f"api/jobs/{job}")[1]["state"] == "done")
        found = server.ask(f"api/jobs/{job}")[1]
        assert found["starts"] == 2
        assert found["report"]["unchanged"] >= 1  # what the first one finished was kept
        assert server.ask("api/videos")[1]["total"] == 6
    assert vlar_command("index", "verify", copy).code == 0


def _noise(first: int, number: int):
    return videos.noise(first + number)


def _wait(holds, limit_s: float = 120.0) -> None:
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_a_library_that_does_not_exist(vlar_command, tmp_path: Path):
    for verb, name in (
        ("mcp", "absent.vlar"),
        ("serve", "absent"),
        ("serve", "absent/new.vlar"),
    ):
        done = vlar_command(verb, tmp_path / name)
        assert done.code == 2
        assert "does not exist" in done.advice
    done = vlar_command("serve", tmp_path / "new.vlar", "--model", "nosuch", "--port", 0)
    assert "nosuch" in done.advice
    assert not (tmp_path / "new.vlar").exists()


def test_a_new_name_becomes_an_empty_library_that_takes_uploads(tmp_path: Path):
    clip = videos.make_video(tmp_path / "clip.mp4", 30)
    with serving(tmp_path / "new.vlar", tmp_path / "state") as server:
        server.wait_until_ready()
        line = next(line for line in server.errors if "new.vlar did not exist" in line)
        assert "new, empty library was made for the model lite" in line
        assert server.ask("api/library")[1]["library"]["videos"] == 0
        status, body = server.ask("api/query", {"query": "a square"})
        assert (status, body["kind"]) == (409, "empty")
        assert "vlar index" not in body["error"] + body["fix"]
        sent = [clip.read_bytes(), b"\0\0\0\x18ftypmp42" + b"\xff" * 4096]  # the second is hostile
        ids = [_sent(server, data) for data in sent]
        job = server.ask("api/jobs", {"uploads": ids})[1]
        _wait(lambda: server.ask(f"api/jobs/{job['id']}")[1]["state"] == "done")
        done = server.ask(f"api/jobs/{job['id']}")[1]
        assert (done["report"]["added"], done["failed"]) == (1, 1)
        assert server.ask("api/query", {"query": "a square", "min_probability": 0})[1]["hits"]


def _sent(server: Server, data: bytes) -> str:
    request = urllib.request.Request(f"{server.address}api/uploads?name=a.mp4", data=data)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["id"]


@pytest.mark.slow
def test_an_agent_asks_over_stdin_and_stdout(library: Path):
    from mcp import Client, StdioServerParameters

    async def ask() -> dict:
        command = StdioServerParameters(
            command=str(COMMAND), args=["mcp", str(library)], env=dict(os.environ)
        )
        async with Client(command) as client:
            result = await client.call_tool("search", {"query": "a square", "min_probability": 0})
            return json.loads(result.content[0].text)

    found = asyncio.run(asyncio.wait_for(ask(), 60))
    assert found["hits"][0]["path"].endswith("moving.mp4")


@pytest.mark.slow
def test_an_agent_adds_and_cuts_over_stdin_and_stdout(library: Path, tmp_path: Path):
    from mcp import Client, StdioServerParameters

    copy, more = tmp_path / "copy.vlar", tmp_path / "more"
    shutil.copytree(library, copy)
    more.mkdir()
    videos.make_video(more / "new.mp4", 30, picture=partial(_noise, 5))

    async def run() -> tuple[dict, dict, dict]:
        options = ["--write", "--root", str(more), "--cuts", str(tmp_path / "cuts")]
        command = StdioServerParameters(
            command=str(COMMAND), args=["mcp", str(copy), *options], env=dict(os.environ)
        )
        async with Client(command) as client:
            assert client.protocol_version == "2026-07-28"

            async def call(name: str, **arguments: Any) -> dict:
                result = await client.call_tool(name, arguments)
                assert not result.is_error, result
                return json.loads(result.content[0].text)

            job = await call("add", paths=[str(more)], tags={"place": "gym"})
            for _ in range(4):
                job = await call("follow", job=job["id"], wait_s=30)
            listed = await call("list_recordings", contains="new")
            span = {"start_s": 0.2, "end_s": 0.8}
            return (
                job,
                await call("tags"),
                await call("cut", video=listed["videos"][0]["video"], **span),
            )

    job, tags, cut = asyncio.run(asyncio.wait_for(run(), 150))
    assert job["state"] == "done", job
    assert job["report"]["added"] == 1
    assert tags == {"a": {"b": 1}, "place": {"gym": 1}}
    assert Path(cut["path"]).stat().st_size > 0


QUERY = {"text": "a square", "k": 50, "min_probability": 0}

ADDED = 6


def answer(server: Server) -> Any:
    status, found = server.ask("api/query", QUERY, {"authorization": f"Bearer {TOKEN}"})
    assert status == 200, found
    return [(hit["name"], hit["start_s"], hit["similarity"]) for hit in found["hits"]]


@pytest.mark.slow
def test_two_servers_answer_alike_while_another_process_adds(vlar_command, tmp_path: Path):
    for name in ("first", "later"):
        (tmp_path / name).mkdir()
    videos.make_video(tmp_path / "first" / "first.mp4", 20)
    for number in range(ADDED):
        videos.make_video(tmp_path / "later" / f"{number}.mp4", 30 + 5 * number)
    library = tmp_path / "clips.vlar"
    assert vlar_command("index", "add", library, tmp_path / "first").code == 0
    with (
        serving(library, tmp_path / "a", VLAR_TOKEN=TOKEN) as one,
        serving(library, tmp_path / "b", VLAR_TOKEN=TOKEN) as two,
    ):
        one.wait_until_ready()
        two.wait_until_ready()
        assert answer(one) == answer(two)
        # Each recording is committed whole, so an answer has between 1 and 7 of them.
        adding = subprocess.Popen(
            [str(COMMAND), "index", "add", str(library), str(tmp_path / "later")],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        seen: list[int] = []
        while adding.poll() is None:
            before = answer(one)
            between, after = answer(two), answer(one)
            # What one server knows, the other knows with the next question.
            assert {hit[0] for hit in before} <= {hit[0] for hit in between}
            assert {hit[0] for hit in between} <= {hit[0] for hit in after}
            seen.append(len({hit[0] for hit in between}))
            time.sleep(0.05)
        assert adding.returncode == 0
        assert seen == sorted(seen)
        final = answer(one)
        assert final == answer(two)
        assert len({hit[0] for hit in final}) == ADDED + 1
        # A session that one server began is known to the other.
        body = json.dumps({"token": TOKEN}).encode()
        request = urllib.request.Request(
            one.address + "api/session", data=body, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as opened:
            cookie = opened.headers["set-cookie"].partition(";")[0]
        assert two.ask("api/library", headers={"cookie": cookie})[0] == 200
        assert two.ask("api/library")[0] == 401
    with serving(library, tmp_path / "a", VLAR_TOKEN=TOKEN):
        done = vlar_command("serve", library, "--port", "0", "--state", tmp_path / "a")
        assert done.code == 2
        assert "in use by another server" in done.advice
