"""Tables of tracks, their clock, their layout, and identities that hold."""

from __future__ import annotations

import gzip
import lzma
import re
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import invoke
from tests.refusals import refused
from vlar.behaviour.tracks.layouts import read_regions
from vlar.behaviour.tracks.recording import read_tracks, repair
from vlar.errors import DecodeError
from vlar.media.lookup import read_clip, reader_for

PLAIN = "time_s,nose_x,nose_y,nose_likelihood,tail_x,tail_y\n"


def dlc(frames: int = 6, animals: tuple[str, ...] = ("a", "b")) -> str:
    """A DeepLabCut table with four header rows; the tail of the second animal is missing."""
    rows: list[list[str]] = [["scorer"], ["individuals"], ["bodyparts"], ["coords"]]
    for animal in animals:
        for point in ("nose", "tail"):
            for axis in ("x", "y", "likelihood"):
                for row, cell in zip(rows, ("s", animal, point, axis), strict=True):
                    row.append(cell)
    for frame in range(frames):
        cells = [str(frame)]
        for n, _ in enumerate(animals):
            cells += [f"{frame + 100 * n}.5", "20", "0.9"]
            cells += ["", "", "1.0"] if n else [f"{frame - 10}", "22", "0.2"]
        rows.append(cells)
    return "\n".join(",".join(row) for row in rows) + "\n"


def test_a_missing_point_is_one_without_coordinates(tmp_path: Path):
    path = tmp_path / "pair.csv"
    path.write_text(dlc())
    recording = read_tracks(path, fps=30)
    tracks = recording.tracks
    assert (tracks.animals, tracks.names) == (("a", "b"), ("nose", "tail"))
    assert tracks.points.shape == (6, 2, 2, 2)
    assert np.isnan(tracks.points[:, 1, 1]).all()  # of likelihood 1
    assert np.isfinite(tracks.points[:, 0, 1]).all()  # of likelihood .2
    assert recording.rate_hz == 30
    assert recording.duration_s == pytest.approx(0.2)


def test_a_rate_is_never_guessed(tmp_path: Path):
    path = tmp_path / "pair.csv"
    path.write_text(dlc())
    refused(DecodeError, "--fps", read_tracks, path)
    refused(DecodeError, "--fps", read_clip, path)
    (tmp_path / "layout.toml").write_text("fps = 25\nfront = 'nose'\n")
    assert read_tracks(path).rate_hz == 25
    assert read_clip(path).data.shape == (6, 2, 2, 2)
    (tmp_path / "pair.toml").write_text("fps = 50\n")  # of this recording alone
    assert read_tracks(path).rate_hz == 50


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_packed_files_are_read(tmp_path: Path, pack):
    ending = ".gz" if pack is gzip.compress else ".xz"
    plain, packed = tmp_path / "pair.csv", tmp_path / f"pair.csv{ending}"
    plain.write_text(dlc())
    packed.write_bytes(pack(plain.read_bytes()))
    one, other = read_tracks(plain, fps=30), read_tracks(packed, fps=30)
    np.testing.assert_array_equal(one.tracks.points, other.tracks.points)
    assert reader_for(packed).modality == "tracks"
    packed.write_bytes(packed.read_bytes()[:-20])
    refused(DecodeError, "pair.csv", read_tracks, packed, fps=30)


def test_named_columns_and_their_clock(tmp_path: Path):
    path = tmp_path / "one.csv"
    rows = [f"{5 + n / 20},{n},1,0.5,{n - 3},2" for n in range(40)]
    path.write_text(PLAIN + "\n".join(rows))
    recording = read_tracks(path)
    assert recording.rate_hz == pytest.approx(20)
    assert recording.start_s == 5
    assert recording.tracks.names == ("nose", "tail")
    assert recording.tracks.confidence is not None
    stamps = tmp_path / "stamps.csv"
    lines = [f"{n},0,1,{1000 + 40 * n},Rest" for n in range(30)]
    stamps.write_text("\ufefflhx,lhy,lhz,timestamp,phase\n" + "\n".join(lines))
    found = read_tracks(stamps)
    assert found.tracks.points.shape == (30, 1, 1, 3)
    assert found.rate_hz == pytest.approx(25)
    assert "milliseconds" in found.tracks.meta["assumed"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PLAIN, "no frame"),
        (PLAIN + "0,a,1,1,1,1\n", "not a number"),
        (PLAIN + "0,1,1\n0.1,1,1\n", "not a number"),
        (PLAIN + "0,,,1,,\n0.1,,,1,,\n", "no point is present"),
        (PLAIN + "0,1e9,1,1,1,1\n0.1,1,1,1,1,1\n", "beyond"),
        (PLAIN + "0,1,1,1,1,1\n0,1,1,1,1,1\n", "do not rise"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, content: str, says: str):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    refused(DecodeError, says, read_tracks, path)


def test_a_layout_names_points_that_exist(tmp_path: Path):
    path = tmp_path / "pair.csv"
    path.write_text(dlc())
    layout = tmp_path / "other.toml"
    layout.write_text("fps = 30\npoints = ['tail']\n")
    assert read_tracks(path, layout=layout).tracks.names == ("tail",)
    layout.write_text("fps = 30\nfront = 'ear'\n")
    refused(DecodeError, "'ear'", read_tracks, path, layout=layout)
    layout.write_text("speed = 30\n")
    refused(DecodeError, "'speed'", read_tracks, path, layout=layout)
    layout.write_text("fps = ")
    refused(DecodeError, "not TOML", read_tracks, path, layout=layout)


def test_regions_have_a_unit(tmp_path: Path):
    file = tmp_path / "regions.toml"
    file.write_text("[nest]\ncircle = [1, 2, 3]\nunit = 'cm'\n")
    assert read_regions(file, 10.0)[0].circle == (10, 20, 30)
    with pytest.raises(ValueError, match="px_per_cm"):
        read_regions(file)
    file.write_text("[line]\npolygon = [[0, 0], [1, 1]]\n")
    with pytest.raises(ValueError, match="'line'"):
        read_regions(file)


def test_exchanged_names_are_put_right():
    time = np.arange(100)
    points = np.zeros((100, 2, 3, 2), np.float32)
    for point in range(3):
        points[:, 0, point, 0], points[:, 1, point, 0] = time + 10 * point, 400 - time + 10 * point
    exchanged = points.copy()
    exchanged[30:60] = exchanged[30:60, ::-1]
    repaired, count = repair(exchanged)
    assert count == 2
    np.testing.assert_array_equal(repaired, points)
    same, none = repair(points)
    assert none == 0
    np.testing.assert_array_equal(same, points)


def test_the_advice_of_a_refused_table_makes_it_readable(tmp_path: Path):
    file = tmp_path / "mouse_dlc.csv"
    rows = "".join(f"{n},{n},2,3,4\n" for n in range(60))
    file.write_text("scorer,a,a,a,a\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n" + rows)
    refusal = invoke(["check", str(file)])
    (line,) = re.findall("write '(.*)' into layout.toml next to it", refusal.output)
    assert refusal.exit_code == 2
    (tmp_path / "layout.toml").write_text(line)
    assert invoke(["check", str(file)]).exit_code == 0
    assert read_tracks(file).rate_hz == 30
