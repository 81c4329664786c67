"""Two ``vlar serve`` on one library answer alike while a third process adds to it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import videos

from .conftest import COMMAND
from .serving import Server, serving

pytestmark = pytest.mark.slow
TOKEN = "a-token-of-the-tests-0123456789"
QUERY = {"text": "a square", "k": 50, "min_probability": 0}
ADDED = 6


def answer(server: Server) -> Any:
    status, found = server.ask("api/query", QUERY, {"authorization": f"Bearer {TOKEN}"})
    assert status == 200, found
    return [(hit["name"], hit["start_s"], hit["similarity"]) for hit in found["hits"]]


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
