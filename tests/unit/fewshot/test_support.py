from __future__ import annotations

from pathlib import Path

import pytest

from vlar.errors import SupportError
from vlar.fewshot import read_support
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
    with pytest.raises(SupportError, match="folder of its own"):
        read_support(tmp_path)


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
    with pytest.raises(SupportError, match="no such folder or file"):
        read_support(tmp_path / "absent")
    with pytest.raises(SupportError, match="no example"):
        read_support(tmp_path)
    _touch(tmp_path, "loose.mp4")
    with pytest.raises(SupportError, match="one folder per label"):
        read_support(tmp_path)
    _touch(tmp_path, "a/v.mp4")
    with pytest.raises(SupportError, match="only the label 'a'"):
        read_support(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(SupportError, match="'b' has no example"):
        read_support(tmp_path)
