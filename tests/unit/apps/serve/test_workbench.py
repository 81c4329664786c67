"""Facets, maps, views, tags, removal, files and evaluation of a served library."""

from __future__ import annotations

import errno
import io
import json
import os
import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import invoke
from tests.unit.library.fakes import DIM, FakeModel, tiny_video
from tests.unit.library.test_people import TwoPeople
from vlar.apps.serve import exports
from vlar.apps.serve.library import RequestedRecording, ServedLibrary
from vlar.apps.serve.workbench import plane, typical
from vlar.library.library import Library
from vlar.library.store.trust import writer_lock
from vlar.people import base
from vlar.pose import networks

from .conftest import Served
from .test_http import post, refused

UNIT = np.eye(DIM, dtype=np.float32)[0]


def full_disk(*_: object):
    raise OSError(errno.ENOSPC, "No space left on device")


def get(served: Served, path: str, **query):
    return served.client.get(f"/api/{path}", params=query)


def value_of(served: Served, name: str) -> dict[str, str]:
    found = get(served, "videos", contains=name).json()["videos"]
    return found[0]["tags"] if found else {}


def ended(served: Served, job: dict) -> dict:
    for _ in range(600):
        now = get(served, f"jobs/{job['id']}").json()
        if now["state"] not in ("queued", "running"):
            return now
        time.sleep(0.1)
    raise AssertionError(job)


def test_a_plane_keeps_the_two_directions_that_vary_most():
    draw = np.random.default_rng(0)
    along = draw.normal(size=(500, 2)) * (9.0, 3.0)
    turn = np.linalg.qr(draw.normal(size=(6, 6)))[0]
    rows = np.c_[along, 0.01 * draw.normal(size=(500, 4))] @ turn
    places = plane(rows.astype(np.float32))
    assert places.shape == (500, 2)
    assert np.abs(places).max() == 1
    for axis in (0, 1):
        assert abs(np.corrcoef(places[:, axis], along[:, axis])[0, 1]) > 0.98
    assert abs(np.corrcoef(places[:, 0], along[:, 1])[0, 1]) < 0.2
    assert np.array_equal(places, plane(rows.astype(np.float32)))
    assert plane(np.ones((3, 1), np.float32)).shape == (3, 2)


def test_typical_rows_stand_for_the_largest_groups():
    groups = np.repeat(np.eye(4, dtype=np.float32), (5, 20, 10, 1), axis=0)
    assert [int(groups[place].argmax()) for place in typical(groups, 3)] == [1, 2, 0]
    assert len(typical(groups[:2], 9)) == 2


def test_facets_count_what_filters_leave(served: Served):
    found = get(served, "facets").json()
    facets = {each["name"]: each["values"] for each in found["facets"]}
    assert found["total"] == 3
    assert facets["place"] == [{"text": "desk", "count": 3, "where": ["place=desk"]}]
    (short,) = facets["length"]
    assert (short["text"], short["count"]) == ("under 10 s", 3)
    listed = get(served, "videos", where=short["where"]).json()
    assert listed["total"] == 3
    assert get(served, "facets", where="duration_s>=600").json()["total"] == 0
    refused(get(served, "facets", where="plaice=x"), 400, "place")


def test_a_map_and_views_name_windows_that_can_be_played(served: Served):
    found = get(served, "map").json()
    assert found["windows"] == len(found["points"]) >= 3
    for video, start_s, end_s, x, y in found["points"]:
        assert 0 <= start_s < end_s
        assert max(abs(x), abs(y)) <= 1
        assert get(served, f"videos/{found['videos'][video]['video']}/rows").status_code == 200
    assert all(low != high for low, high in found["axes"])
    assert len(found["marks"]) <= 6
    assert all(max(abs(x), abs(y)) <= 1 and text for x, y, text in found["marks"])
    hits = get(served, "views/unusual", k=2).json()["hits"]
    assert len(hits) == 2
    assert {"video", "name", "start_s", "end_s"} <= hits[0].keys()
    assert get(served, "views/highlights").json() == {"hits": []}
    (group,) = get(served, "views/duplicates").json()["groups"]
    assert [each["name"] for each in group] == ["moving.mp4", "old.avi"]
    for none in ("duration_s>=600", "path=nowhere/*"):
        assert get(served, "map", where=none).json()["points"] == []
        assert get(served, "views/unusual", where=none).json()["hits"] == []
    refused(get(served, "views/nonsense"), 422)


@pytest.mark.slow
def test_suggestions_are_queries_that_the_library_answers(served: Served):
    for text in get(served, "suggestions").json()["queries"]:
        answer = post(served, "query", text=text, k=1).json()
        assert answer["hits"] and not answer["weak"]  # noqa: PT018


def test_two_pages_edit_one_tag(served: Served):
    video = served.id_of("moving")
    mine = {"video": video, "tags": {"shot": "good"}, "before": {"shot": None}}
    theirs = {"video": video, "tags": {"shot": "bad"}, "before": {"shot": None}}
    assert post(served, "tags", changes=[mine]).json() == {"changed": 1}
    refused(post(served, "tags", changes=[theirs]), 409, "'good' by now", "read it again")
    assert value_of(served, "moving")["shot"] == "good"
    gone = {"video": video, "tags": {"shot": None}, "before": {"shot": "good"}}
    assert post(served, "tags", changes=[gone]).json() == {"changed": 1}
    assert value_of(served, "moving") == {"place": "desk"}


@pytest.mark.parametrize(
    ("tags", "status"),
    [({}, 422), ({"path": "x"}, 400), ({"a>b": "x"}, 400), ({" ": "x"}, 400), ({"": "x"}, 422)],
)
def test_tags_that_cannot_be(served: Served, tags: dict[str, str], status: int):
    refused(post(served, "tags", changes=[{"video": served.id_of("moving"), "tags": tags}]), status)
    assert value_of(served, "moving") == {"place": "desk"}


def test_a_change_waits_for_no_other_writer(served: Served):
    change = {"video": served.id_of("moving"), "tags": {"a": "b"}}
    with writer_lock(served.library):
        refused(post(served, "tags", changes=[change]), 423, "writing")
        refused(post(served, "remove", videos=[change["video"]]), 423)


def test_a_read_only_library_is_changed_by_nobody(served: Served, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != served.library)
    assert get(served, "library").json()["writable"] is False
    video = served.id_of("moving")
    data = (served.folder / "moving.mp4").read_bytes()
    upload = served.client.post("/api/uploads", content=data).json()["id"]
    for path, body in (
        ("tags", {"changes": [{"video": video, "tags": {"a": "b"}}]}),
        ("remove", {"videos": [video]}),
        ("jobs", {"uploads": [upload]}),
    ):
        refused(post(served, path, **body), 403, "read-only")
    assert value_of(served, "moving") == {"place": "desk"}


def test_a_removed_recording_is_named_in_an_open_page(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    upload = _upload(served, "<b>gone *.mp4")
    job = ended(served, post(served, "jobs", uploads=[upload], tags={"a": "b"}).json())
    assert (job["state"], job["report"]["copies"] + job["report"]["added"]) == ("done", 1)
    video = served.id_of("<b>gone *")
    listed = get(served, "videos", contains="<b>")
    assert listed.headers["content-type"] == "application/json"  # a hostile name stays text
    span = {"video": video, "start_s": 0, "end_s": 1}
    assert served.client.get(f"/api/videos/{video}/file").status_code == 200
    # Its name is a glob that would match others: exactly this recording goes.
    removal = post(served, "remove", videos=[video]).json()
    assert removal["removed"] == 1
    assert get(served, "videos").json()["total"] == 3
    refused(post(served, "remove", videos=[video]), 404)
    refused(post(served, "tags", changes=[{"video": video, "tags": {"a": "b"}}]), 404)
    refused(post(served, "export/csv", spans=[span]), 404)
    refused(get(served, f"videos/{video}/thumbnail"), 404)
    # Nothing is lost: the bin has it for thirty days.
    listed = get(served, "bin").json()
    assert (listed["days"], [row["names"] for row in listed["removals"]]) == (
        30,
        [["<b>gone *.mp4"]],
    )
    with monkeypatch.context() as patch:  # a removal that cannot be deleted is not told as done
        patch.setattr("vlar.apps.serve.bin.work_folder", full_disk)
        refused(post(served, "restore", bin=removal["bin"]), 507, "full")
    assert post(served, "restore", bin=removal["bin"]).json() == {"restored": 0}
    assert value_of(served, "<b>gone") == {"a": "b"}
    assert get(served, f"videos/{video}/rows").json()["rows"]
    refused(post(served, "restore", bin=removal["bin"]), 404, "30 days")
    assert get(served, "bin").json()["removals"] == []
    old = served.application.bench.removed._folder / "1000000000-00000000"
    old.mkdir()
    days_s = time.time() + 40 * 86400
    with monkeypatch.context() as patch:  # the clock is set while the server runs
        patch.setattr("vlar.apps.serve.bin.time.time", lambda: days_s)
        get(served, "bin")
        assert old.exists()
    post(served, "remove", videos=[video])
    assert not old.exists()


def test_keys_come_from_a_project_that_binds_some(tmp_path: Path):
    (tmp_path / "a.csv").write_text("recording,start_s,end_s,label\nx,0,1,sniff\n")
    result = invoke(["serve", "x.vlar", "--keys", str(tmp_path / "a.csv")])
    assert result.exit_code == 2
    assert "it binds no key; give a project of BORIS with keys" in result.output


def test_spans_are_labelled_exported_and_never_overwritten(served: Served):
    video = served.id_of("moving")
    path = f"videos/{video}/labels"
    empty = get(served, path).json()
    assert (empty["version"], empty["segments"], empty["known"]) == (0, [], [])
    assert empty["keys"] == {}
    refused(post(served, "labels/export", form="csv"), 400, "no recording has labels")
    row = {"start_s": 0.2, "end_s": 1.0, "label": "shake", "tier": "Ann"}
    assert post(served, path, version=0, segments=[row]).json()["version"] == 1
    refused(post(served, path, version=0, segments=[]), 409, "version 1 by now, not 0")
    refused(post(served, path, version=1, segments=[{**row, "end_s": 0.1}]), 400, "before")
    kept = get(served, path).json()
    assert (kept["segments"], kept["known"]) == ([row], ["shake"])
    table = post(served, "labels/export", form="csv")
    assert table.headers["content-disposition"].endswith('filename="labels.csv"')
    assert table.text.splitlines()[1].endswith("moving.mp4,0.2,1,shake,Ann")
    answers = {
        name: post(served, "labels/export", form=name, videos=[video]) for name, _ in kept["forms"]
    }
    assert {answer.status_code for answer in answers.values()} <= {200, 400}
    written = {name for name, answer in answers.items() if answer.status_code == 200}
    assert {"csv", "boris", "elan", "via3"} <= written, written
    for answer in answers.values():  # what a format cannot hold is said without a path
        assert answer.status_code == 200 or "/tmp" not in answer.json()["error"]
    refused(post(served, "labels/export", form="nonsense"), 400, "there are", "csv")
    removal = post(served, "remove", videos=[video]).json()["bin"]
    assert post(served, "restore", bin=removal).status_code == 200
    assert get(served, path).json()["segments"] == [row]
    assert post(served, path, version=1, segments=[]).json()["version"] == 2


def label(served: Served, name: str, *spans: tuple[float, float, str]) -> None:
    """Labels in place of those that a recording has."""
    path = f"videos/{served.id_of(name)}/labels"
    rows = [{"start_s": a, "end_s": b, "label": text} for a, b, text in spans]
    version = get(served, path).json()["version"]
    assert post(served, path, version=version, segments=rows).status_code == 200


def test_labelled_spans_are_a_filter_and_a_list(served: Served):
    label(served, "moving", (0.0, 1.0, "shake"), (1.0, 2.0, "rest"))
    found = get(served, "facets").json()["facets"]
    (facet,) = [each for each in found if each["name"] == "labels in the player"]
    assert [(value["text"], value["count"]) for value in facet["values"]] == [
        ("labelled", 1),
        ("not yet", 2),
    ]
    names = [row["name"] for row in get(served, "videos", where="labelled=no").json()["videos"]]
    assert names == ["noise.mp4", "old.avi"]
    every = get(served, "labels").json()
    assert (every["recordings"], [row["label"] for row in every["spans"]]) == (1, ["shake", "rest"])
    assert set(every["spans"][0]) == {"video", "name", "start_s", "end_s", "label"}
    label(served, "moving")


def test_a_file_of_labels_is_read_next_to_a_recording(served: Served):
    video = served.id_of("moving")
    text = "recording,start_s,end_s,label\nmoving,0.1,0.9,shake\nother,0,1,rest\n"
    read = partial(post, served, "labels/read", video=video)
    assert read(name="ann.csv", text=text).json()["segments"] == [
        {"start_s": 0.1, "end_s": 0.9, "label": "shake"}
    ]
    one = text.replace("moving,", "take one,").replace("other,", "take one,")
    assert len(read(name="ann.csv", text=one).json()["segments"]) == 2
    problem = read(name="ann.csv", text=text.replace("moving,", "take one,"))
    refused(problem, 400, "2 recordings", "rename")
    refused(read(name="/x/ann.zip", text="PK"), 400, "ann.zip")
    assert "/tmp" not in read(name="/x/ann.csv", text="").text


def test_a_model_looks_for_labels_in_a_whole_recording(served: Served):
    found = post(served, "segments", video=served.id_of("moving"), labels=["noise", "a street"])
    assert found.status_code == 200, found.text
    for row in found.json()["segments"]:
        assert set(row) == {"start_s", "end_s", "label", "probability"}
    refused(post(served, "segments", video=served.id_of("moving"), model="none"), 404)


def test_doubts_need_two_labels(served: Served):
    refused(post(served, "review"), 400, "0 labels are in use")
    refused(post(served, "evaluate"), 400, "0 spans of the library are labelled")


@pytest.mark.slow
def test_models_are_compared_on_spans_and_doubts_come_first(served: Served):
    label(served, "moving", (0.0, 1.0, "shake"), (1.0, 2.0, "rest"))
    label(served, "noise", (0.0, 1.0, "noise"))
    job = ended(served, post(served, "evaluate", other="library").json())
    assert job["state"] == "done", job
    report = job["report"]["comparison"]
    assert (report["n"], report["groups"], report["answers_changed"]) == (3, 2, 0)
    assert "top-1: library" in report["sentence"]
    assert (report["changed"], report["moved"]) == ([], [])
    (brief,) = [each for each in get(served, "jobs").json()["jobs"] if each["id"] == job["id"]]
    assert "comparison" not in brief["report"]
    job = ended(served, post(served, "review", k=5).json())
    assert job["state"] == "done", job
    items = job["report"]["items"]
    assert items
    assert served.id_of("noise") not in {item["video"] for item in items}
    assert {g["label"] for g in items[0]["guesses"]} <= {"shake", "rest", "noise"}
    for name in ("moving", "noise"):
        label(served, name)


def test_recordings_come_in_any_order(served: Served):
    def order(sort: str) -> list[str]:
        listed = get(served, "videos", sort=sort).json()["videos"]
        return [row["name"] for row in listed]

    assert order("name") == ["moving.mp4", "noise.mp4", "old.avi"]
    assert order("longest") == ["moving.mp4", "old.avi", "noise.mp4"] == order("shortest")[::-1]
    assert sorted(order("newest")) == order("path")
    refused(get(served, "videos", sort="colour"), 422)


def _upload(served: Served, name: str) -> str:
    data = (served.folder / "noise.mp4").read_bytes()
    return served.client.post("/api/uploads", content=data, params={"name": name}).json()["id"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("..", "video.mp4"),
        ("../../x.mp4", "x.mp4"),
        ('<img src=x onerror="1">.mp4', '<img src=x onerror="1">.mp4'),
        ("a\nb.exe", "a b.exe.mp4"),
        ("", "video.mp4"),
    ],
)
def test_an_upload_joins_under_its_own_name_in_its_own_folder(served: Served, name: str, kept: str):
    upload = served.application.uploads.get(_upload(served, name))
    place = served.application.tasks._joined(upload.path, upload.name)
    assert place.name == kept
    assert place.parent.parent == served.application.tasks._received
    assert place.read_bytes() == upload.path.read_bytes()


def test_nothing_and_pictures_cannot_be_added(served: Served):
    refused(post(served, "jobs"), 422, "nothing")
    picture = _picture(served)
    refused(post(served, "jobs", uploads=[picture]), 415, "picture")
    refused(post(served, "jobs", uploads=["0" * 20]), 404)


def test_uploads_that_join_are_bounded(served: Served, monkeypatch):
    limits = replace(served.application.limits, joined_bytes=10)
    monkeypatch.setattr(served.application.tasks, "_limits", limits)
    refused(post(served, "jobs", uploads=[_upload(served, "more.mp4")]), 507, "make room")


def _picture(served: Served) -> str:
    thumbnail = get(served, f"videos/{served.id_of('noise')}/thumbnail").content
    return served.client.post("/api/uploads", content=thumbnail).json()["id"]


def test_a_dropped_picture_is_a_query(served: Served):
    text = f'LIKE "upload:{_picture(served)}"'
    hit = post(served, "query", text=text, k=1).json()["hits"][0]
    assert hit["name"] == "noise.mp4"
    curves = post(served, "timeline", text=text, video=hit["video"]).json()["curves"]
    # As it was asked for: no path of the server's folder.
    assert [each["phrase"] for each in (*hit["parts"], *curves)] == [text, text]
    broken = served.client.post("/api/uploads", content=b"\x89PNG\r\n\x1a\n" + b"x" * 600).json()
    refused(post(served, "query", text=f'LIKE "upload:{broken["id"]}"'), 422)


def test_spans_become_files(served: Served, monkeypatch):
    spans = [{"video": served.id_of(n), "start_s": 0.5, "end_s": 1} for n in ("moving", "old")]
    made = {
        kind["name"]: post(served, f"export/{kind['name']}", spans=spans, title="=a\nb")
        for kind in get(served, "library").json()["exports"]
    }
    assert {answer.status_code for answer in made.values()} == {200}
    assert all("attachment" in answer.headers["content-disposition"] for answer in made.values())
    assert made["csv"].text.splitlines()[1].endswith("moving.mp4,0.5,1.0")
    if "otio" in made:  # where its package is installed
        timeline = made["otio"].json()
        assert timeline["OTIO_SCHEMA"] == "Timeline.1"
        (track,) = timeline["tracks"]["children"]
        spans_s = [
            each["source_range"]["duration"]["value"] / each["source_range"]["duration"]["rate"]
            for each in track["children"]
        ]
        assert spans_s == [pytest.approx(0.5, abs=0.05)] * 2
    names = zipfile.ZipFile(io.BytesIO(made["clips"].content)).namelist()
    assert names == ["01_moving_0m00.5s-0m01.0s.mp4", "02_old_0m00.5s-0m01.0s.mp4"]
    refused(post(served, "export/nonsense", spans=spans), 422)
    monkeypatch.setattr(exports, "_MOST_BYTES", 10)
    refused(post(served, "export/clips", spans=spans), 413, "choose fewer")
    refused(post(served, "export/csv", spans=[]), 422)
    refused(post(served, "export/csv", spans=[{**spans[0], "end_s": 0.5}]), 422, "before it starts")


def test_answers_come_part_by_part_and_stop_when_nobody_listens(served: Served):
    body = {"source": {"video": served.id_of("moving")}, "labels": ["a", "b"], "every_s": 1}
    lines = post(served, "classify/parts", **body).text.splitlines()
    total, *rows = map(json.loads, lines)
    assert total == {"total": len(rows)}
    assert rows == post(served, "classify", **body).json()["answers"]
    refused_line = post(served, "classify/parts", **{**body, "model": "none"}).text
    assert json.loads(refused_line)["problem"]["kind"] == "not_found"
    seen: list[dict] = []
    served.application.classify(
        RequestedRecording(video=body["source"]["video"]),
        ["a", "b"],
        every_s=1,
        on_part=lambda row: seen.append(row) or len(seen) < 2,
    )
    assert len(seen) == 2  # the total and one answer


def test_labels_that_do_not_fit_a_tag_are_refused_at_once(served: Served):
    problem = post(served, "evaluate", tag="place", labels=["gym", "street"])
    refused(problem, 400, "'desk'", "'gym', 'street'")


@pytest.mark.slow
def test_an_evaluation_says_which_clip_is_confused_with_what(served: Served):
    refused(post(served, "evaluate", tag="nothing"), 400, "0 recordings")
    refused(post(served, "evaluate", tag="place", model="none"), 404)
    names = {"moving": "moving", "old": "moving", "noise": "noise"}
    changes = [{"video": served.id_of(n), "tags": {"shows": t}} for n, t in names.items()]
    assert post(served, "tags", changes=changes).status_code == 200
    job = ended(served, post(served, "evaluate", tag="shows").json())
    assert job["state"] == "done", job
    clips = job["report"]["clips"]
    assert {each["video"]: each["label"] for each in clips} == {
        each["video"]: each["tags"]["shows"] for each in changes
    }
    assert {each["answer"] for each in clips} <= set(job["report"]["labels"])
    assert "clips" not in get(served, "jobs").json()["jobs"][0]["report"]


def test_people_of_a_recording_have_boxes_by_window(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(base, "load_detector", lambda spec: TwoPeople())
    monkeypatch.setattr(networks, "is_installed", lambda: True)
    clip = tiny_video(tmp_path / "two.mp4", 1)
    with Library(tmp_path / "people.vlar", FakeModel()) as library:
        library.add(clip, persons=True)
        stored = [hit for hit in library.nearest(UNIT, 20) if hit.track is not None]
    with ServedLibrary(tmp_path / "people.vlar", FakeModel(), create=False) as served:
        found = served.people(clip.as_posix())
        assert served.people("absent.mp4") == []
    assert len(found) == len(stored) > 2
    spans = {(each["start_s"], each["end_s"], each["track"]) for each in found}
    assert spans == {(hit.start_s, hit.end_s, hit.track) for hit in stored}
    assert all(0 <= side <= 1 for each in found for side in each["box"])
