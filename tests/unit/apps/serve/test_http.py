"""The HTTP interface on a real library and a real model, in this process."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from tests import videos
from tests.unit.library.hostile import cache_of
from vlar.apps.serve.access import Access
from vlar.apps.serve.errors import ServeError, answer_of
from vlar.apps.serve.http import HttpInterface
from vlar.apps.serve.lanes import BoundedExecutor
from vlar.apps.serve.server import bound_socket
from vlar.cancellation import check
from vlar.errors import LibraryError
from vlar.library.library import Library
from vlar.library.query import guarantee
from vlar.library.store.trust import writer_lock
from vlar.media.video.decode import read_clip

from .conftest import HOST, Served, serve

ONE_LINE = {"error", "fix", "kind"}

JSON = {"content-type": "application/json"}


def post(served: Served, path: str, **body):
    return served.client.post(f"/api/{path}", json=body)


def refused(answer, status: int, *words: str) -> None:
    """One JSON object of one line: what happened, what to do."""
    body = answer.json()
    assert answer.status_code == status, body
    assert body.keys() >= ONE_LINE
    assert all("\n" not in str(value) for value in body.values())
    assert "Traceback" not in answer.text
    for word in words:
        assert word in f"{body['error']}; {body['fix']}"


def test_a_query_is_answered_with_moments(served: Served):
    body = post(served, "query", text="a moving square", k=3, min_probability=0).json()
    first = body["hits"][0]
    assert first["name"] in {"moving.mp4", "old.avi", "noise.mp4"}
    assert 0 <= first["start_s"] < first["end_s"]
    assert first["tags"] == {"place": "desk"}
    assert body["note"] is None or "weak" in body["note"]
    same = served.application._library().query("a moving square", 3, min_probability=0)
    assert [hit["path"] for hit in body["hits"]] == [hit.path for hit in same]
    assert [hit["score"] for hit in body["hits"]] == [round(hit.score, 6) for hit in same]


def test_judgements_and_concepts_are_asked_over_the_net(served: Served):
    def ask(text: str, **more: object) -> dict:
        body = {"text": text, "k": 50, "min_probability": 0, **more}
        answer = served.client.post("/api/query", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    plain = ask("a square that moves")
    named = {"query": "a square that moves", "k": 50, "min_probability": 0}
    assert served.client.post("/api/query", json=named).json()["hits"] == plain["hits"]
    first, second = plain["hits"][0]["row"], plain["hits"][1]["row"]
    assert plain["decides"] == {}
    judged = ask("a square that moves", yes=[first], no=[second])
    assert not {first, second} & {hit["row"] for hit in judged["hits"]}
    assert sum(judged["decides"].values()) == pytest.approx(1)
    one = ask("a square that moves", one_per_recording=True)["hits"]
    assert len({hit["video"] for hit in one}) == len(one)
    connection = served.application._library()._connection
    made = guarantee.MissCalibration("c", connection.nonempty()[1].fingerprint, {3: (-9.0,) * 40})
    with connection.writing() as writer, writer.transaction():
        writer.set_meta({guarantee.KEY: made.to_json()})
    held = ask("a square that moves", miss=0.1)
    assert held["guarantee"]["alpha"] == 0.1
    assert held["guarantee"]["sentence"].capitalize() in held["note"]

    kept = {"name": "our square", "text": "a square that moves", "yes": [first], "no": []}
    assert served.client.post("/api/concepts", json=kept).json()["name"] == "our square"
    listed = served.client.get("/api/concepts").json()["concepts"]
    assert [each["name"] for each in listed] == ["our square"]
    assert ask('"our square"')["hits"]
    for path, body in (
        ("/api/concepts", {**kept, "yes": []}),
        ("/api/query", {"text": "a", "yes": [0]}),
    ):
        assert served.client.post(path, json=body).status_code in (400, 422)
    forgotten = served.client.post("/api/concepts/remove", json={"name": "our square"})
    assert forgotten.json() == {"concepts": []}


def test_no_match_is_said(served: Served):
    body = post(served, "query", text="a moving square", min_probability=1).json()
    assert body["hits"] == []
    assert body["note"].startswith("No match above 100 %. The best has ")
    body = post(served, "query", text="square", where=["place=elsewhere"]).json()
    assert body["note"].startswith("No window was searched")


def test_an_expression_that_cannot_be_read_has_its_place(served: Served):
    answer = post(served, "query", text='"a cup" and "a hand"')
    refused(answer, 400, "AND")
    assert (answer.json()["query"], answer.json()["position"]) == ('"a cup" and "a hand"', 8)
    refused(post(served, "query", text="square", where=["plaice=gym"]), 400, "place")
    refused(post(served, "query", text="  "), 400)
    refused(post(served, "query", text="square", k=0), 422, "k")
    refused(post(served, "query", text="square", nonsense=1), 422, "nonsense")


def test_like_reads_only_what_it_may(served: Served):
    video = served.id_of("noise")
    body = post(served, "query", text=f'LIKE "video:{video}"@0s-1s', k=1).json()
    assert body["hits"][0]["name"] == "noise.mp4"
    refused(post(served, "query", text="LIKE /etc/hostname"), 403, "--root")
    refused(post(served, "query", text=f'"a" AND NOT LIKE "{served.folder}/../x.mp4"'), 403)
    refused(post(served, "timeline", text="LIKE /etc/hostname", video=video), 403)


def test_a_timeline_has_every_window_of_each_phrase(served: Served):
    video = served.id_of("moving")
    body = post(served, "timeline", text='"a square" AND "noise"', video=video).json()
    rows = served.client.get(f"/api/videos/{video}/rows").json()["rows"]
    assert [curve["phrase"] for curve in body["curves"]] == ["a square", "noise"]
    for curve in body["curves"]:
        assert curve["windows"] == [[row["start_s"], row["end_s"]] for row in rows]
        assert all(0 <= p <= 1 for p in curve["probability"])
    hit = post(served, "query", text="a square", k=9, min_probability=0).json()["hits"]
    of_video = next(each for each in hit if each["video"] == video)
    assert max(body["curves"][0]["probability"]) == pytest.approx(of_video["probability"], abs=1e-6)


def test_a_thumbnail_is_the_picture_of_its_moment(served: Served):
    video = served.id_of("moving")
    for at_s in (0.5, 2.0):
        answer = served.client.get(f"/api/videos/{video}/thumbnail", params={"at_s": at_s})
        assert answer.headers["content-type"] == "image/jpeg"
        shown = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)
        clip = read_clip(served.folder / "moving.mp4", n_frames=60)
        nearest = np.abs(clip.data.astype(int) - shown).mean(axis=(1, 2, 3)).argmin()
        assert abs(clip.times_s[nearest] - at_s) < 0.15
    for box, code in (("10,10,10,20", 400), ("0,0,101,20", 400), ("1,2,3", 422), ("a,b,c,d", 422)):
        refused(served.client.get(f"/api/videos/{video}/thumbnail?box={box}"), code)
    part = served.client.get(f"/api/videos/{video}/thumbnail?at_s=2&box=0,0,50,25")
    width, height = Image.open(io.BytesIO(part.content)).size
    assert width < clip.data.shape[2]
    assert width > height
    refused(served.client.get(f"/api/videos/{video}/thumbnail?at_s=nan"), 422)
    refused(served.client.get(f"/api/videos/{'0' * 20}/thumbnail"), 404)
    refused(served.client.get("/api/videos/..%2f..%2fetc/thumbnail"), 404)


def test_a_recording_is_sent_in_ranges(served: Served):
    whole = (served.folder / "moving.mp4").read_bytes()
    place = f"/api/videos/{served.id_of('moving')}/file"
    answer = served.client.get(place)
    assert (answer.status_code, answer.content) == (200, whole)
    assert answer.headers["accept-ranges"] == "bytes"
    for asked, wanted in (
        ("bytes=0-9", whole[:10]),
        ("bytes=50-", whole[50:]),
        ("bytes=-7", whole[-7:]),
    ):
        answer = served.client.get(place, headers={"range": asked})
        assert (answer.status_code, answer.content) == (206, wanted)
    assert (
        answer.headers["content-range"] == f"bytes {len(whole) - 7}-{len(whole) - 1}/{len(whole)}"
    )
    for asked in ("bytes=1-2,4-5", "lines=1-2", "bytes=9-2", "bytes=-"):
        answer = served.client.get(place, headers={"range": asked})
        assert (answer.status_code, answer.content) == (200, whole)
    refused(served.client.get(place, headers={"range": f"bytes={len(whole)}-"}), 416)
    assert served.client.get(place, headers={"range": f"bytes={'9' * 5000}-"}).content == whole


def test_what_browsers_do_not_play_is_cut(served: Served, tmp_path: Path):
    place = f"/api/videos/{served.id_of('old')}"
    refused(served.client.get(f"{place}/file"), 415, "span")
    answer = served.client.get(f"{place}/span", params={"start_s": 0.4, "end_s": 1.4})
    assert answer.headers["content-type"] == "video/mp4"
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(answer.content)
    own, other = read_clip(cut, n_frames=1), read_clip(served.folder / "old.avi", n_frames=40)
    nearest = np.abs(other.data.astype(int) - own.data[0].astype(int)).mean(axis=(1, 2, 3)).argmin()
    assert 0.4 <= other.times_s[nearest] <= 1.4
    for start_s, end_s in ((1, 1), (2, 1), (0, 1000)):
        refused(served.client.get(f"{place}/span?start_s={start_s}&end_s={end_s}"), 400)
    refused(served.client.get(f"{place}/span?start_s=500&end_s=501"), 422)


def test_an_upload_is_classified(served: Served):
    content = (served.folder / "noise.mp4").read_bytes()
    up = served.client.post("/api/uploads?name=..%2F..%2Fmy%20clip.mp4", content=content).json()
    assert (up["name"], up["bytes"], up["container"]) == ("my clip.mp4", len(content), "mp4")
    asked = {"labels": ["noise", "a horse"], "top": 2}
    assert up["id"] == up["upload"]  # the name of before, and that of the next body
    body = post(served, "classify", source={"upload": up["upload"]}, **asked).json()
    own = served.application.models.own().classify(served.folder / "noise.mp4", asked["labels"])
    answer = body["answers"][0]
    assert answer["path"] == "my clip.mp4"
    assert answer["label"] == own.label
    assert {p["label"]: p["probability"] for p in answer["predictions"]} == {
        p.label: pytest.approx(p.probability, abs=1e-5) for p in own.predictions
    }
    source = {"path": str(served.folder / "noise.mp4")}
    (alone,) = post(served, "classify", source=source, labels=["noise"]).json()["answers"]
    assert alone["verdict"] in ("yes", "unsure", "no")
    assert "verdict" not in body["answers"][0]
    spans = post(served, "classify", source=source, every_s=0.6, **asked).json()["answers"]
    assert [(each["start_s"], each["end_s"]) for each in spans] == [(0.0, 0.6), (0.6, 1.2)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"source": {"path": "/etc/passwd"}, "labels": ["a"]}, 403),
        ({"source": {"path": "/"}, "labels": ["a"]}, 403),
        ({"source": {"path": "{folder}"}, "labels": ["a"]}, 422),
        ({"source": {"path": "{folder}/absent.mp4"}, "labels": ["a"]}, 404),
        ({"source": {}, "labels": ["a"]}, 400),
        ({"source": {"upload": "0" * 20}, "labels": ["a"]}, 404),
        ({"source": {"upload": "0" * 20, "path": "x"}, "labels": ["a"]}, 400),
        ({"source": {"upload": "../../etc/passwd"}, "labels": ["a"]}, 422),
        ({"source": {"video": "0" * 20, "start_s": 3}, "labels": ["a"]}, 400),
        ({"source": {"video": "0" * 20}, "labels": "/etc/passwd"}, 422),
        ({"source": {"video": "0" * 20}, "labels": "bank:../../x"}, 422),
        ({"source": {"video": "0" * 20}, "labels": "bank:nothing"}, 400),
        ({"source": {"video": "0" * 20}, "labels": []}, 400),
        ({"source": {"video": "0" * 20}, "labels": [" "]}, 422),
        ({"source": {"video": "0" * 20}, "labels": ["a"], "model": "../x"}, 400),
        ({"source": {"video": "0" * 20}, "labels": ["a"], "model": "absent"}, 404),
        ({"source": {"video": "0" * 20}}, 400),
    ],
)
def test_what_cannot_be_classified_is_one_line(served: Served, body: dict, status: int):
    body["source"] = dict(body["source"])
    if "path" in body["source"]:
        body["source"]["path"] = body["source"]["path"].format(folder=served.folder)
    if body["source"].get("video"):
        body["source"]["video"] = served.id_of("moving")
    refused(served.client.post("/api/classify", json=body), status)


def test_uploads_are_bounded_and_must_be_videos(served: Served):
    client, stored = served.client, served.application.uploads
    before = stored.stored_bytes
    huge = {"content-length": str(10 << 30)}
    refused(client.post("/api/uploads", content=b"x", headers=huge), 413, "0 MB")
    given = 0

    def endless():
        nonlocal given
        yield (served.folder / "moving.mp4").read_bytes()
        for _ in range(200):
            given += 100_000
            yield bytes(100_000)

    refused(client.post("/api/uploads", content=endless()), 413)
    refused(client.post("/api/uploads", content=b"PK\x03\x04" + bytes(1000)), 415, "mp4")
    refused(client.post("/api/uploads", content=b""), 415)
    refused(client.post("/api/uploads", content=b"root:x:0:0"), 415)
    assert stored.stored_bytes == before
    assert sum(f.stat().st_size for f in stored._folder.iterdir()) == before
    refused(client.post("/api/query", content=b"x" * (2 << 20)), 413)
    refused(client.post("/api/query", content=b"[" * 500_000, headers=JSON), 400)
    refused(client.post("/api/query", content=b"x", headers={"content-length": "9" * 5000}), 413)
    refused(client.post("/api/query", content=b"x", headers={"content-length": "-1"}), 413)


def test_a_full_disk_is_507_and_a_sentence(served: Served, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vlar.apps.serve.uploads.Uploads._write", full)
    refused(served.client.post("/api/uploads", content=b"x"), 507, "disk is full", "--state")
    full_library = LibraryError("cannot be written; make room")
    full_library.__cause__ = sqlite3.OperationalError("database or disk is full")
    assert answer_of(full_library)[0] == 507
    assert answer_of(LibraryError("cannot be written; wait"))[0] == 503


def test_a_body_with_two_lengths_is_refused(served: Served):
    both = {"content-length": "2", "transfer-encoding": "chunked", **JSON}
    refused(served.client.post("/api/query", content=b"{}", headers=both), 400, "send one of them")


def test_a_file_that_only_begins_like_a_video_is_refused_in_words(served: Served):
    up = served.client.post("/api/uploads?name=b.mp4", content=b"\0\0\0\x20ftypisom" + bytes(900))
    answer = post(served, "classify", source={"upload": up.json()["id"]}, labels=["a"])
    refused(answer, 422, "b.mp4")
    assert up.json()["id"] not in answer.text  # nobody needs the place on the server's disk
    assert served.client.get("/api/health").json()["status"] == "ok"


def test_a_video_of_huge_pictures_in_few_bytes_is_refused(served: Served, tmp_path: Path):
    """A bomb: 16000 x 16000 pixels, 768 MB of memory a frame, in a few kilobytes."""
    bomb = bytearray(
        videos.make_blank_video(tmp_path / "bomb.gif", 2, codec="gif", pix_fmt="rgb8").read_bytes()
    )
    bomb[6:10] = (16000).to_bytes(2, "little") * 2
    up = served.client.post("/api/uploads?name=bomb.gif", content=bytes(bomb)).json()
    refused(post(served, "classify", source={"upload": up["id"]}, labels=["a"]), 422, "pixels")
    assert post(served, "query", text="a square", min_probability=0).status_code == 200


def test_a_recording_that_has_moved(served: Served):
    video = served.id_of("noise")
    path, away = served.folder / "noise.mp4", served.folder / "noise.gone"
    path.rename(away)
    try:
        for place in ("thumbnail", "file", "span?start_s=0&end_s=1"):
            refused(served.client.get(f"/api/videos/{video}/{place}"), 410, "vlar index add")
        path.symlink_to("/etc/hostname")
        refused(served.client.get(f"/api/videos/{video}/file"), 403)
        path.unlink()
        path.mkdir()
        refused(served.client.get(f"/api/videos/{video}/file"), 415)
        path.rmdir()
        path.write_text("not a video at all")
        refused(served.client.get(f"/api/videos/{video}/file"), 415)
        refused(served.client.get(f"/api/videos/{video}/thumbnail?at_s=0.3"), 422)
    finally:
        path.unlink(missing_ok=True)
        away.rename(path)
    assert served.client.get(f"/api/videos/{video}/file").status_code == 200


def test_a_library_that_another_program_writes_to(served: Served):
    with writer_lock(served.library):
        answer = post(served, "jobs", paths=[str(served.folder)])
        refused(answer, 423, "wait")
        assert int(answer.headers["retry-after"]) > 0
        assert post(served, "query", text="a square", min_probability=0).status_code == 200


def test_a_library_that_is_rebuilt_meanwhile_answers_the_same(served: Served):
    asked = {"text": "a square", "min_probability": 0}
    before = post(served, "query", **asked).json()
    with Library(served.library) as other:
        other.compact(retrain=True)
    cache_of(served.library).unlink()
    assert post(served, "query", **asked).json() == before


def test_jobs_are_refused_before_they_start(served: Served):
    refused(post(served, "jobs", paths=["/etc"]), 403)
    refused(post(served, "jobs", paths=[str(served.folder / "absent")]), 404)
    refused(post(served, "jobs", paths=[str(served.folder)], tags={"path": "x"}), 400)
    refused(post(served, "jobs", paths=[]), 422)
    video = served.id_of("moving")
    one = [{"video": video, "label": "a"}, {"video": video, "label": "a"}]
    refused(post(served, "adapt", name="m", examples=one), 400, "two labels")
    two = [one[0], {"video": video, "label": "b"}]
    refused(post(served, "adapt", name="../m", examples=two), 400, "name")
    refused(post(served, "adapt", name="library", examples=two), 400)
    refused(post(served, "adapt", name="m", examples=two, method="nothing"), 400, "ridge")
    refused(served.client.get(f"/api/jobs/{'0' * 16}"), 404)
    assert served.client.get("/api/jobs").json() == {"jobs": []}


def test_every_answer_carries_the_headers_of_a_safe_page(served: Served):
    for path in ("/", "/page/app.js", "/api/library", "/nothing", "/metrics"):
        headers = served.client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    refused(served.client.get("/nothing"), 404)
    refused(served.client.put("/api/query"), 405)
    refused(served.client.get("/page/..%2fhttp.py"), 404)
    refused(served.client.get("/page/http.py"), 404)
    refused(served.client.get("/api/library", headers={"host": "evil.example"}), 421)
    refused(served.client.get("/api/library", headers={"origin": "http://evil.example"}), 403)
    tag = served.client.get("/page/app.js").headers["etag"]
    again = served.client.get("/page/app.js", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    other = served.client.get("/page/api.js", headers={"if-none-match": tag})
    assert other.status_code == 200


def test_a_browser_exchanges_the_token_for_a_cookie(served: Served):
    token = "a-token-of-the-tests-0123456789"
    app = HttpInterface(served.application, Access(token)).app()
    video = served.id_of("moving")
    with TestClient(app, HOST) as client:
        for path in ("/api/library", "/openapi.json", "/metrics", f"/api/videos/{video}/file"):
            refused(client.get(path), 401, "Authorization")
        assert client.get("/").status_code == 200
        answer = client.post("/api/session", json={"token": token})
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert token not in cookie
        assert client.get(f"/api/videos/{video}/thumbnail").status_code == 200
        assert client.get("/openapi.json").json()["security"] == [{"bearer": []}]


def test_figures_count_requests_by_their_pattern(served: Served):
    post(served, "query", text="a secret word")
    text = served.client.get("/metrics").text
    assert 'vlar_requests_total{method="POST",route="/api/query",status="200"}' in text
    assert 'vlar_waiting{name="queries"} 0.0' in text
    assert "secret" not in text
    assert served.id_of("moving") not in text


def test_a_library_that_is_gone_is_named_and_comes_back(
    made_library: Path, tmp_path: Path, lite_model
):
    library = tmp_path / "small.vlar"
    library.mkdir()
    for file in (made_library / "small.vlar").iterdir():
        (library / file.name).write_bytes(file.read_bytes())
    for served in serve(library, made_library / "clips", tmp_path / "state", lite_model):
        assert post(served, "query", text="a square", min_probability=0).status_code == 200
        served.application._reads._connection.disconnect()
        (library / "library.sqlite").rename(tmp_path / "away")
        answer = served.client.get("/api/videos")
        assert answer.status_code in (200, 503)
        (tmp_path / "away").rename(library / "library.sqlite")
        assert served.client.get("/api/videos").json()["total"] == 3


def test_callers_beyond_the_bound_are_refused_at_once_and_others_are_served():
    lane, gate = BoundedExecutor("queries", 1, 2), threading.Event()

    async def ask() -> list:
        callers = [asyncio.create_task(lane.run(5, gate.wait, 5)) for _ in range(6)]
        await asyncio.sleep(0.05)
        assert lane.pending == 3
        gate.set()
        return await asyncio.gather(*callers, return_exceptions=True)

    answers = asyncio.run(ask())
    refused = [each for each in answers if isinstance(each, ServeError)]
    assert answers.count(True) == 3
    assert [(each.status, each.retry_s) for each in refused] == [(503, 1)] * 3
    assert lane.pending == 0
    assert asyncio.run(lane.run(5, int, "7")) == 7


def test_a_caller_is_answered_in_time_and_the_work_keeps_its_place():
    """Work that never looks whether it is over: the thread is busy, and nobody gets another one."""
    lane, gate = BoundedExecutor("queries", 1, 0), threading.Event()

    async def ask() -> None:
        begin_s = time.monotonic()
        with pytest.raises(ServeError) as problem:
            await lane.run(0.05, gate.wait, 5)
        assert problem.value.status == 504
        assert time.monotonic() - begin_s < 2
        assert lane.pending == 1
        with pytest.raises(ServeError) as problem:
            await lane.run(1, int, "7")
        assert problem.value.status == 503

    asyncio.run(ask())
    gate.set()
    lane.close()


def endless() -> None:
    while True:
        check()
        time.sleep(0.005)


def free_within_s(lane: BoundedExecutor, most_s: float = 2.0) -> bool:
    end_s = time.monotonic() + most_s
    while lane.pending and time.monotonic() < end_s:
        time.sleep(0.01)
    return not lane.pending


def test_a_request_that_is_over_gives_its_thread_back():
    lane = BoundedExecutor("queries", 1, 1)

    async def ask() -> None:
        with pytest.raises(ServeError) as problem:
            await lane.run(0.05, endless)
        assert problem.value.status == 504
        assert await lane.run(2, int, "7") == 7
        caller = asyncio.create_task(lane.run(60, endless))
        await asyncio.sleep(0.05)
        caller.cancel()  # as where a caller leaves
        assert await lane.run(2, int, "8") == 8

    asyncio.run(ask())
    assert free_within_s(lane)


@pytest.fixture
def listening(served: Served) -> Iterator[tuple[str, int, BoundedExecutor]]:
    """The served application at a real port, and its threads that classify."""
    interface = HttpInterface(served.application, Access(None))
    listener = bound_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(interface.app(), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield *listener.getsockname()[:2], interface._lanes["classifying"]
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("route", ["classify", "classify/parts"])
def test_a_caller_that_leaves_ends_the_work(
    listening: tuple[str, int, BoundedExecutor],
    served: Served,
    route: str,
    monkeypatch: pytest.MonkeyPatch,
):
    host, port, lane = listening
    begun = threading.Event()

    def slow(*_: object, **__: object) -> None:
        begun.set()
        endless()

    monkeypatch.setattr(served.application, "_classifying", slow)
    body = json.dumps({"source": {"video": served.id_of("moving")}, "labels": ["a", "b"]})
    head = f"POST /api/{route} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
    for _ in range(3):
        begun.clear()
        with socket.create_connection((host, port)) as client:
            client.sendall(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
            assert begun.wait(10)
            assert lane.pending == 1
        assert free_within_s(lane)


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(BoundedExecutor("reads", 1, 1).run(5, int, "x"))
