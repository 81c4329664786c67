# ruff: noqa: E501
"""Formats of data sets, labelling programs, players and editors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import vlar
from tests.refusals import refused
from tests.unit.behaviour.formats.test_read import table
from tests.unit.segments import samples
from vlar.errors import UsageError
from vlar.segments import Segment as S
from vlar.segments import load, save


def result(first: int, last: int, *labels: str) -> dict[str, object]:
    value = {"ranges": [{"start": first, "end": last}], "timelinelabels": list(labels)}
    return {"type": "timelinelabels", "from_name": "acts", "to_name": "video", "value": value}


TASKS = [
    {
        "id": 7,
        "data": {"video": "/data/local-files/?d=clips/a%20b.mp4"},
        "more": "kept",
        "annotations": [
            {
                "completed_by": 3,
                "was_cancelled": False,
                "result": [result(1, 25, "run"), result(26, 50, "sit", "eat")],
            },
            {
                "completed_by": {"email": "bo@x.org"},
                "was_cancelled": True,
                "result": [result(1, 5, "run")],
            },
        ],
        "predictions": [{"model_version": "m1", "score": 0.5, "result": [result(1, 50, "run")]}],
    },
    {
        "data": {"audio": "b.wav"},
        "annotations": [
            {
                "result": [
                    {
                        "type": "labels",
                        "from_name": "s",
                        "value": {"start": 1.5, "end": 2, "labels": ["bark"]},
                    }
                ]
            }
        ],
    },
    {
        "data": {"csv": "c.csv"},
        "annotations": [
            {
                "result": [
                    {
                        "type": "timeserieslabels",
                        "value": {"start": 3, "end": 4, "timeserieslabels": ["step"]},
                    }
                ]
            }
        ],
    },
]


def test_tasks_of_label_studio(tmp_path: Path):
    content = table(tmp_path, "t.json", samples.as_json(TASKS), fps=25)
    clip = "clips/a b.mp4"
    assert content.segments == [
        S(clip, 0, 1, "run", tier="acts", rater="3"), S(clip, 0, 2, "run", tier="acts", rater="m1", probability=0.5),
        S(clip, 1, 2, "eat", tier="acts", rater="3"), S(clip, 1, 2, "sit", tier="acts", rater="3"),
        S("b.wav", 1.5, 2, "bark", tier="s"), S("c.csv", 3, 4, "step"),
    ]  # fmt: skip
    assert content.notes == ("1 cancelled annotations are left out",)
    refused(UsageError, "give fps", load, tmp_path / "t.json")
    file = tmp_path / "t.json"
    more = [
        S(clip, 3, 4, "run", tier="acts", rater="m2", probability=0.75),
        S("new.mp4", 0, 1, "hop", rater="Ann"),
    ]
    save(file, [*content.segments, *more], fps=25)
    tasks = json.loads(file.read_text())
    assert [len(task["annotations"]) for task in tasks] == [2, 1, 1, 1]
    assert tasks[0]["more"] == "kept"
    assert tasks[0]["predictions"][1]["model_version"] == "m2"
    assert [row for row in load(file, fps=25).segments if row not in content.segments] == more[::-1]


def test_detections_of_fiftyone(tmp_path: Path):
    labels = {
        "classes": ["run", "sit"],
        "labels": {
            "v": [{"label": 1, "support": [26, 50]}, {"label": "run", "timestamps": [1.5, 2]}]
        },
    }
    content = table(tmp_path, "l.json", samples.as_json(labels), fps=25)
    assert content.segments == [S("v", 1, 2, "sit"), S("v", 1.5, 2, "run")]
    detection = {"_cls": "TemporalDetection", "label": "run", "support": [1, 25], "confidence": 0.5}
    samples_ = {
        "samples": [
            {
                "filepath": "/x/v.mp4",
                "acts": {"_cls": "TemporalDetections", "detections": [detection]},
            }
        ]
    }
    assert table(tmp_path, "s.json", samples.as_json(samples_), fps=25).segments == [
        S("/x/v.mp4", 0, 1, "run", probability=0.5)
    ]
    rows = [S("v", 1, 2, "run", "m1", "t", "Ann", ("slow", "up"), 0.5), S("w", 3, 3, "sit")]
    assert save(tmp_path / "new_fiftyone.json", rows) == ()
    assert load(tmp_path / "new_fiftyone.json").segments == rows


def test_coco_for_video(tmp_path: Path):
    head = {
        "categories": [{"id": 1, "name": "dog"}],
        "videos": [{"id": 5, "file_name": "v.mp4", "fps": 10}],
    }
    boxes = [[0, 0, 1, 1], [0, 0, 1, 1], None, [0, 0, 1, 1]]
    rows = {**head, "annotations": [{"id": 2, "video_id": 5, "category_id": 1, "bboxes": boxes}]}
    assert table(tmp_path, "a.json", samples.as_json(rows)).segments == [
        S("v.mp4", 0, 0.2, "dog", "2"), S("v.mp4", 0.3, 0.4, "dog", "2")
    ]  # fmt: skip
    images = [{"id": i, "video_id": 5, "frame_id": i} for i in range(3)]
    rows = {
        **head,
        "images": images,
        "annotations": [{"image_id": i, "category_id": 1, "instance_id": 9} for i in (1, 2)],
    }
    assert table(tmp_path, "b.json", samples.as_json(rows)).segments == [
        S("v.mp4", 0.1, 0.3, "dog", "9")
    ]
    refused(UsageError, "read and not written", save, tmp_path / "b.json", [])


def test_tables_of_data_sets(tmp_path: Path):
    text = "videoPath,label,startTime,endTime\na.mov,jump,,1.5\na.mov,sit,2,\n"
    content = table(tmp_path, "c.csv", text)
    assert content.segments == [S("a.mov", 0, 1.5, "jump")]
    assert "1 rows end with their video" in content.notes[0]
    rows = [{"video": "a.mov", "label": "jump", "start": 0.5, "end": 1.5}]
    assert table(tmp_path, "c.json", samples.as_json(rows)).segments == [
        S("a.mov", 0.5, 1.5, "jump")
    ]
    text = "v1,902,0.1,0.2,0.3,0.4,80,0\nv1,903,0.1,0.2,0.3,0.4,80,0\nv1,905,0.1,0.2,0.3,0.4,80,0\nv1,902,0,0,1,1,12,1\n"
    assert table(tmp_path, "ava.csv", text).segments == [
        S("v1", 901.5, 902.5, "12", "1"), S("v1", 901.5, 903.5, "80", "0"), S("v1", 904.5, 905.5, "80", "0")
    ]  # fmt: skip
    text = 'id,subject,scene,actions,length\nAAA,P1,Kitchen,"c092 11.90 21.20;c147 0.00 12.60",30.5\nBBB,P2,Hall,,12\n'
    content = table(tmp_path, "ch.csv", text)
    assert content.segments == [S("AAA", 0, 12.6, "c147", "P1"), S("AAA", 11.9, 21.2, "c092", "P1")]
    assert content.durations == {"AAA": 30.5, "BBB": 12}
    refused(UsageError, "has blanks", save, tmp_path / "n_charades.csv", [S("a", 0, 1, "a b")])


def test_cues_and_label_tracks(tmp_path: Path):
    text = "WEBVTT\n\nNOTE a remark\n\n1\n00:01.000 --> 00:02.500\n<v Eva>run &amp; <b>jump</b>\n\n01:00:00.000 --> 01:00:01.000 line:0\nsit (87%)\n"
    assert table(tmp_path, "a.vtt", text).segments == [
        S("a", 1, 2.5, "run & jump", "Eva"), S("a", 3600, 3601, "sit", probability=0.87)
    ]  # fmt: skip
    rows = [S("v/x.mp4", 1, 2.5, "a <b> & c --> d", "E<v>a"), S("v/x.mp4", 3661.25, 3662, "sit")]
    save(tmp_path / "b.vtt", rows)
    assert load(tmp_path / "b.vtt").segments == rows
    text = "0.500000\t1.500000\tbark\n\\\t100.0\t2000.0\n2.000000\t2.000000\tclick\n"
    assert table(tmp_path, "t.txt", text).segments == [
        S("t", 0.5, 1.5, "bark"),
        S("t", 2, 2, "click"),
    ]


def test_markers_of_editors(tmp_path: Path):
    text = (
        "TITLE: Timeline 1\nFCM: NON-DROP FRAME\n\n001  001      V     C        01:00:01:00 01:00:01:01 01:00:01:00 01:00:01:01  \n"
        " |C:ResolveColorBlue |M:run away |D:25\n\n"
    )
    content = table(tmp_path, "m.edl", text, fps=25)
    assert content.segments == [S("m", 1, 2, "run away")]
    assert content.notes == ("times are those after 01:00:00:00",)
    text = "Marker Name\tDescription\tIn\tOut\tDuration\tMarker Type\nrun\t\t00:00:01:00\t00:00:02:12\t00:00:01:12\tComment\n\tnote\t00:00:03:00\t00:00:03:00\t00:00:00:00\tComment\n"
    file = tmp_path / "p.csv"
    file.write_bytes(text.encode("utf-16"))
    assert load(file, fps=25).segments == [S("p", 1, 2.48, "run"), S("p", 3, 3, "note")]
    refused(UsageError, "give fps", load, file)
    refused(
        UsageError,
        "no timecodes",
        table,
        tmp_path,
        "q.csv",
        text.replace("00:00:02:12", "2 s"),
        fps=25,
    )


@pytest.mark.parametrize(
    "first", ["a.boris", "a.eaf", "a.vtt", "a.opf", "a_label_studio.json", "a_fiftyone.json"]
)
@pytest.mark.parametrize(
    "second", ["b.csv", "b.json", "b.boris", "b_createml.json", "b_raters.csv"]
)
def test_pairs_of_formats_lose_only_what_is_reported(first: str, second: str, tmp_path: Path):
    rows = [
        S("a", 1, 2, "run", "m1", "t", "Ann", ("slow",), 0.5),
        S("a", 3, 4.5, "sit", "m1", "t", "Ann", (), 0.25),
    ]
    notes = [*save(tmp_path / first, rows, fps=100)]
    again = load(tmp_path / first, fps=100).segments
    notes += save(tmp_path / second, again, fps=100)
    back = vlar.segments.load(tmp_path / second, fps=100).segments
    spans = [(row.start_s, row.end_s, row.label) for row in back]
    assert spans == [(1, 2, "run"), (3, 4.5, "sit")]
    for name in ("subject", "tier", "rater", "modifiers", "probability"):
        if getattr(back[0], name) != getattr(rows[0], name):
            assert any(f"holds no {name}" in note for note in notes), name
