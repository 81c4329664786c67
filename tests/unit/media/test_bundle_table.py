"""A table of recordings by sensor becomes bundle files and their support set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.refusals import refused
from tests.skeletons import write_ucla
from vlar.errors import UnknownNameError, UsageError
from vlar.media.bundle import BundlePart, bundle_parts
from vlar.media.bundle_table import write_bundles

TABLE = """path.skeleton,path.imu,offset.imu,label,group
a.mat,a.csv,0.5,wave,one
b.mat,,,clap,two
,a.csv,,clap,three
,,,clap,four
c.mat,c.csv,soon,clap,five
a.mat,d.csv,,clap,six
"""


def test_each_row_is_a_bundle(tmp_path: Path):
    table = tmp_path / "rows.csv"
    table.write_text(TABLE)
    made = write_bundles(table, tmp_path / "out")
    assert (made.bundles, made.parts) == (4, {"skeleton": 3, "imu": 3})
    lines = made.table.read_text().splitlines()
    assert lines[:3] == ["path,label,group", "a.bundle.json,wave,one", "b.bundle.json,clap,two"]
    assert lines[3:] == ["a-2.bundle.json,clap,three", "a-3.bundle.json,clap,six"]
    parts = bundle_parts(tmp_path / "out" / "a.bundle.json")
    assert parts == {
        "skeleton": BundlePart(tmp_path / "a.mat"),
        "imu": BundlePart(tmp_path / "a.csv", 0.5),
    }
    assert list(bundle_parts(tmp_path / "out" / "b.bundle.json")) == ["skeleton"]
    assert [row.message for row in made.failed] == [
        f"{table}, line 5: no sensor has a path; remove the row",
        f"{table}, line 6: offset.imu is 'soon', not seconds",
    ]


def test_by_share_marks_all_but_the_first(tmp_path: Path):
    table = tmp_path / "rows.csv"
    table.write_text("path.skeleton,path.imu,offset.imu,label\na.mat,a.csv,,x\nb.mat,b.csv,1,x\n")
    made = write_bundles(table, tmp_path, by_share=True)
    parts = bundle_parts(tmp_path / "a.bundle.json")
    assert [part.by_share for part in parts.values()] == [False, True]
    assert "line 3: offset.imu is given" in made.failed[0].message


def test_recordings_of_other_lengths_are_stated_unless_they_share_the_take(tmp_path: Path):
    for name, count in (("a", 66), ("b", 70), ("long", 110)):
        lines = [f"{i / 50},0,0,1" for i in range(count)]
        head = "time_s,wrist_acc_x_g,wrist_acc_y_g,wrist_acc_z_g"
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *lines]) + "\n")
        write_ucla(tmp_path / f"{name}.json", True, frames=40)
    table = tmp_path / "rows.csv"
    rows = [f"{name}.json,{name}.csv,x" for name in ("a", "b", "long")]
    table.write_text("\n".join(["path.skeleton,path.imu,label", *rows]))
    name, count = write_bundles(table, tmp_path / "out").uneven
    assert (name.partition(":")[0], count) == ("long.bundle.json", 1)
    assert name.endswith("skeleton 1.33 s, imu 2.20 s")
    assert write_bundles(table, tmp_path / "out", by_share=True).uneven == ("", 0)


def test_a_column_that_is_empty_in_every_row_is_a_missing_sensor(tmp_path: Path):
    table = tmp_path / "rows.csv"
    table.write_text("path.imu,path.audio,label\na.csv,,c\n")
    made = write_bundles(table, tmp_path / "out")
    assert (made.bundles, made.parts) == (1, {"imu": 1, "audio": 0})
    assert list(bundle_parts(tmp_path / "out" / "a.bundle.json")) == ["imu"]


WRONG = [
    ("", UsageError, "its columns are none"),
    ("label\nx\n", UsageError, "its columns are label"),
    ("path.imu,path,label\na,b,c\n", UsageError, "its columns are path.imu, path"),
    ("path.imu,path.imu\na,b\n", UsageError, "its columns"),
    ("path.radar,label\na,b\n", UnknownNameError, "no sensor is called 'radar'"),
    ("path.bundle,label\na,b\n", UnknownNameError, "no sensor is called 'bundle'"),
]


@pytest.mark.parametrize(("text", "error", "says"), WRONG, ids=[says for *_, says in WRONG])
def test_other_tables_are_refused(text: str, error: type[Exception], says: str, tmp_path: Path):
    table = tmp_path / "rows.csv"
    table.write_text(text)
    refused(error, says, write_bundles, table, tmp_path / "out")


def test_a_missing_table_is_refused(tmp_path: Path):
    refused(UsageError, "cannot be read as a table", write_bundles, tmp_path / "no", tmp_path)
