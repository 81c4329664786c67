from __future__ import annotations

from pathlib import Path

import pytest

from tests.refusals import refused
from vlar.errors import SupportError, UsageError
from vlar.heads.support import read_support
from vlar.model.requests import find_unlabelled
from vlar.types import Window


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def _csv(folder: Path, text: str | bytes) -> Path:
    file = folder / "support.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_a_folder_per_label(tmp_path):
    _touch(tmp_path, "wave/a.mp4", "wave/more/b.mov", "sit down/c.avi", "readme.txt", ".git/x.mp4")
    support = read_support(tmp_path)
    assert support.labels == ("sit down", "wave")
    assert [(i.path.name, i.label, i.window) for i in support.items] == [
        ("c.avi", "sit down", None),
        ("a.mp4", "wave", None),
        ("b.mov", "wave", None),
    ]
    assert len({item.group for item in support.items}) == 3


def test_frame_folders_are_examples(tmp_path):
    _touch(tmp_path, "a/v1/1.jpg", "a/v1/2.jpg", "a/v2/1.jpg", "b/v3/001.png")
    support = read_support(tmp_path)
    assert [(item.path.name, item.label) for item in support.items] == [
        ("v1", "a"),
        ("v2", "a"),
        ("v3", "b"),
    ]


def test_frames_right_in_the_label_folder_are_refused(tmp_path):
    _touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/v/1.jpg")
    refused(SupportError, "folder of its own", read_support, tmp_path)


def test_csv_with_everything_a_spreadsheet_does(tmp_path):
    text = (
        '\ufeffPath, label ,start_s,end_s\r\n"a, b.mp4","say ""hi"", loud",1.5,3\r\n\r\n'
        "sub/c.mp4,wave,,\r\n/abs/d.mp4,wave,0,2"
    )
    support = read_support(_csv(tmp_path, text))
    assert support.labels == ('say "hi", loud', "wave")
    first, second, third = support.items
    assert first.path == tmp_path / "a, b.mp4"
    assert first.window == Window(1.5, 3.0)
    assert second.path == tmp_path / "sub/c.mp4"
    assert second.window is None
    assert third.path == Path("/abs/d.mp4")


def test_windows_of_one_video_share_a_group_unless_told(tmp_path):
    same = read_support(
        _csv(tmp_path, "path,label,start_s,end_s\nv.mp4,a,0,1\nv.mp4,b,1,2\nw.mp4,a,,")
    )
    assert [item.group == same.items[0].group for item in same.items] == [True, True, False]
    told = read_support(_csv(tmp_path, "path,label,group\nv.mp4,a,p1\nw.mp4,b,p1\nx.mp4,b,"))
    assert told.items[0].group == told.items[1].group == "p1"
    assert told.items[2].group != "p1"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["line 1", "'path'"]),
        ("video,label\na.mp4,b", ["line 1", "'path'"]),
        ("path,label,colour\na.mp4,b,red", ["line 1", "'colour'"]),
        ("path,label,label\na.mp4,b,c", ["'label' comes twice"]),
        ("path,label\na.mp4,x\nb.mp4,", ["line 3", "'label'", "empty"]),
        ("path,label\na.mp4,x\n,y", ["line 3", "'path'"]),
        ("path,label\na,b.mp4,x", ["line 2", "3 fields for 2 columns"]),
        ("path,label,start_s,end_s\na.mp4,x,1,\n", ["line 2", "'end_s'"]),
        ("path,label,start_s,end_s\na.mp4,x,one,2", ["line 2", "'start_s'", "'one'"]),
        ("path,label,start_s,end_s\na.mp4,x,-1,2", ["line 2", "'start_s'"]),
        ("path,label,start_s,end_s\na.mp4,x,0,inf", ["line 2", "'end_s'"]),
        ("path,label,start_s,end_s\na.mp4,x,5,5", ["line 2", "'end_s'", "not after"]),
        ('path,label\n"a.mp4,x', ["line 2", "CSV"]),
        ("path,label\na.mp4,x\nb.mp4,x", ["only the label 'x'"]),
        ("path,label\n", ["no example"]),
        (b"path,label\n\xff\xfe.mp4,x", ["UTF-8"]),
    ],
)
def test_errors_name_file_line_and_column(tmp_path, text, parts):
    file = _csv(tmp_path, text)
    with pytest.raises(SupportError) as caught:
        read_support(file)
    message = caught.value.message
    assert str(file) in message
    for part in parts:
        assert part in message


def test_folder_errors(tmp_path):
    refused(SupportError, "no such folder or file", read_support, tmp_path / "absent")
    refused(SupportError, "no example", read_support, tmp_path)
    _touch(tmp_path, "loose.mp4")
    refused(SupportError, "one folder per label", read_support, tmp_path)
    _touch(tmp_path, "a/v.mp4")
    refused(SupportError, "only the label 'a'", read_support, tmp_path)
    (tmp_path / "b").mkdir()
    refused(SupportError, "'b' has no example", read_support, tmp_path)


def test_several_labels_of_a_clip(tmp_path):
    support = read_support(_csv(tmp_path, "path,labels\na.mp4,walk | wave\nb.mp4,sit\n"))
    assert support.labels == ("sit", "walk", "wave")
    assert [item.labels for item in support.items] == [("walk", "wave"), ("sit",)]
    with pytest.raises(SupportError, match=r"shows 2 labels \(walk, wave\)"):
        _ = support.items[0].label
    assert support.items[1].label == "sit"


def test_labels_in_parts(tmp_path):
    rows = "path,verb,object\na.mp4,open,door\nb.mp4,close,door\n"
    support = read_support(_csv(tmp_path, rows))
    assert support.labels == ("close door", "open door")
    assert support.items[0].parts == {"verb": "open", "object": "door"}
    rows = "path,label,verb,object\na.mp4,opening a door,open,door\nb.mp4,shutting,close,door\n"
    support = read_support(_csv(tmp_path, rows))
    assert support.labels == ("opening a door", "shutting")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("path,label,labels\na.mp4,x,y", ["line 1", "exclude each other"]),
        ("path,labels,verb\na.mp4,x,y", ["line 1", "one a clip"]),
        ("path,labels\na.mp4,x||y\nb.mp4,z", ["line 2", "'labels'", "'x||y'"]),
        ("path,labels\na.mp4,x|x\nb.mp4,z", ["line 2", "one twice"]),
        ("path,verb,object\na.mp4,open,\nb.mp4,close,door", ["line 2", "'object'", "empty"]),
    ],
)
def test_errors_of_labels_that_are_several_or_in_parts(tmp_path, text, parts):
    with pytest.raises(SupportError) as caught:
        read_support(_csv(tmp_path, text))
    for part in parts:
        assert part in caught.value.message


def test_one_path_in_many_rows_is_one_path(tmp_path):
    rows = "".join(f"v/a.mp4,{label},{n},{n + 1}\n" for n, label in enumerate("xyxy"))
    support = read_support(_csv(tmp_path, f"path,label,start_s,end_s\n{rows}"))
    assert {id(item.path) for item in support.items} == {id(support.items[0].path)}
    assert [item.window for item in support.items] == [Window(n, n + 1) for n in range(4)]


def test_a_path_may_begin_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    support = read_support(_csv(tmp_path, "path,label\n~/a.mp4,x\n~nobody-here/b.mp4,y\n"))
    assert [item.path for item in support.items] == [
        tmp_path / "me" / "a.mp4",
        tmp_path / "~nobody-here" / "b.mp4",
    ]


def test_collections_go_on_after_a_table_that_is_refused(tmp_path):
    import gc

    refused(SupportError, "line 2", read_support, _csv(tmp_path, "path,label\na.mp4\n"))
    assert gc.isenabled()


def test_who_and_where_are_facts_of_a_clip(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("path,label,subject,scene\na.mp4,walk,Ann,\nb.mp4,wave,Bob,a park\n")
    first, second = read_support(file).items
    assert first.facts == {"subject": "Ann", "scene": ""}
    assert second.facts == {"subject": "Bob", "scene": "a park"}
    assert (first.group, first.parts) == (str(tmp_path / "a.mp4"), {})


def test_columns_of_facts_are_read_and_others_only_where_a_method_declares_them(tmp_path: Path):
    names = ("domain", "site", "text", "client", "subject", "scene")
    file = _csv(tmp_path, f"path,label,{','.join(names)}\na.mp4,x,1,2,3,4,5,6\nb.mp4,y,7,8,,9,,")
    first, second = read_support(file).items
    assert first.facts == dict(zip(names, "123456", strict=True))
    assert second.facts == dict(zip(names, ("7", "8", "", "9", "", ""), strict=True))
    for empty in ("domain", "site", "client"):
        rows = f"path,label,{empty}\na.mp4,x,here\nb.mp4,y,\n"
        refused(
            SupportError, f"line 3, column '{empty}': empty", read_support, _csv(tmp_path, rows)
        )
    file = _csv(tmp_path, "path,label,device\na.mp4,x,wrist\nb.mp4,y,ankle")
    refused(SupportError, r"unknown column 'device'; .* path, .*site", read_support, file)
    items = read_support(file, facts=["device"]).items
    assert [item.facts["device"] for item in items] == ["wrist", "ankle"]


def test_clips_without_labels_come_from_a_table_too(tmp_path: Path):
    rows = "path,domain,start_s,end_s\na.mp4,street,1,2\n/b.mp4,home,,\n"
    first, second = find_unlabelled(_csv(tmp_path, rows))
    assert (first.path, first.labels, first.facts["domain"]) == (tmp_path / "a.mp4", (), "street")
    assert (first.window, second.window) == (Window(1, 2), None)
    assert second.path == Path("/b.mp4")
    with pytest.raises(SupportError, match="unknown column 'label'; the columns are path, start_s"):
        find_unlabelled(_csv(tmp_path, "path,label\na.mp4,x\n"))
    refused(UsageError, "no recording", find_unlabelled, _csv(tmp_path, "path,domain\n"))
    rows = _csv(tmp_path, "path,domain\na.mp4,street\nb.mp4, \n")
    refused(SupportError, "line 3, column 'domain': empty; fill it in", find_unlabelled, rows)
    (tmp_path / "none").mkdir()
    refused(UsageError, "none: no recording in this folder", find_unlabelled, tmp_path / "none")
    refused(UsageError, "no such folder of unlabelled", find_unlabelled, tmp_path / "absent")
    signals = _csv(tmp_path, "time_s,x,y,z\n0,1,2,3\n")  # itself a recording
    assert [item.path for item in find_unlabelled(signals, "imu")] == [signals]


def test_a_cell_that_looks_like_several_labels_is_named(tmp_path: Path, caplog):
    read_support(_csv(tmp_path, "path,label\na.mp4,bike; and street\nb.mp4,toon\n"))
    assert not caplog.records  # words and a semicolon are one label
    read_support(_csv(tmp_path, "path,label\na.mp4,bike;street\nb.mp4,toon\n"))
    assert "'bike;street' is one label; several" in caplog.text
    assert "column 'labels', with | between" in caplog.text
