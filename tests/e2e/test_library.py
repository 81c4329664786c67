"""Libraries through the real command, of people too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import videos
from tests.unit.library.hostile import cache_of
from tests.unit.people.made import scene

from .conftest import cache_but


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sparse_clips: dict[str, Path]) -> Path:
    place = tmp_path_factory.mktemp("videos")
    for clip in sparse_clips.values():
        shutil.copy(clip, place)
    return place


@pytest.fixture(scope="module")
def library(vlar_command, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("libraries") / "demo.vlar"
    done = vlar_command("index", "add", path, folder, "--tag", "source=demo")
    assert done.code == 0
    assert "3 added" in done.advice
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [("bicycles in street traffic", "bikes"), ("a cartoon animal", "bigbuckbunny")],
)
def test_a_sentence_finds_its_clip_with_times(vlar_command, library: Path, text: str, name: str):
    done = vlar_command("query", library, text, "-k", 2, "--json", "--min-probability", 0)
    assert done.code == 0
    assert done.notes == ""
    first = done.rows[0]
    assert list(first) == [
        "rank", "path", "start_s", "end_s", "score", "probability", "similarity", "tags",
        "lost", "row", "standing", "calibrated",
    ]  # fmt: skip
    assert Path(first["path"]).stem == name
    assert first["end_s"] > first["start_s"] >= 0
    assert first["tags"] == {"source": "demo"}
    assert [row["rank"] for row in done.rows] == [1, 2]
    assert done.rows[0]["score"] >= done.rows[1]["score"]


def test_where_filters(vlar_command, library: Path):
    bunny = ("--where", "path=*bunny*", "--json")
    done = vlar_command("query", library, "bicycles", *bunny, "--min-probability", 0)
    assert {Path(row["path"]).stem for row in done.rows} == {"bigbuckbunny"}
    done = vlar_command("query", library, "cooking", *bunny, "--min-probability", 0.5)
    assert done.rows == []
    assert "no match above 50.0%" in done.advice
    done = vlar_command("query", library, "bicycles", "--where", "source=elsewhere", "--json")
    assert done.code == 0
    assert done.rows == []
    done = vlar_command("query", library, "bicycles", "--where", "sauce=demo")
    assert done.code == 2
    assert "source" in done.advice


def test_where_knows_times_and_dates(vlar_command, library: Path):
    done = vlar_command("query", library, "bicycles", "--where", "start_s>=2", "--json")
    assert done.code == 0
    assert done.rows
    done = vlar_command("query", library, "bicycles", "--where", "added<2020-01-01", "--json")
    assert (done.code, done.rows) == (0, [])
    done = vlar_command("query", library, "bicycles", "--where", "added<soon")
    assert done.code == 2
    assert "added>=2024-05-31" in done.advice


def test_verify_names_what_is_wrong(vlar_command, tmp_path: Path):
    place, path = tmp_path / "place", tmp_path / "some.vlar"
    place.mkdir()
    for seed, name in enumerate(("bikes", "rabbit")):
        videos.make_video(place / f"{name}.mp4", 5, picture=lambda _, s=seed: videos.noise(s))
    assert vlar_command("index", "add", path, place).code == 0
    done = vlar_command("index", "verify", path, "--json")
    assert (done.code, done.rows) == (0, [])
    (place / "bikes.mp4").unlink()
    done = vlar_command("index", "verify", path, "--json")
    assert done.code == 1
    assert [(row["kind"], Path(row["path"]).name) for row in done.rows] == [
        ("missing", "bikes.mp4")
    ]
    done = vlar_command("index", "compact", path, "--type", "ivf", "--json")
    assert done.code == 0
    assert done.rows[0]["engine"] == "ivf"
    (info,) = vlar_command("index", "info", path, "--json").rows
    assert "requested" in info["engine_why"]
    done = vlar_command("index", "compact", path, "--type", "ifv")
    assert done.code == 2
    assert "did you mean 'ivf'" in done.advice


def test_adding_again_costs_nothing_and_changes_nothing(vlar_command, library: Path, folder: Path):
    before = vlar_command("query", library, "bicycles", "--json").out
    done = vlar_command("index", "add", library, folder)
    assert done.code == 0
    assert "3 of 3 videos are already indexed" in done.err
    assert "3 unchanged" in done.err
    assert vlar_command("query", library, "bicycles", "--json").out == before


def test_list_info_and_remove(vlar_command, library: Path, folder: Path, tmp_path: Path):
    path = shutil.copytree(library, tmp_path / "copy.vlar")
    rows = vlar_command("index", "list", path, "--json").rows
    assert [Path(row["path"]).stem for row in rows] == sorted(p.stem for p in folder.iterdir())
    rows_of_one = vlar_command("index", "list", path, "--where", "path=bikes.mp4", "--json").rows
    assert [Path(row["path"]).stem for row in rows_of_one] == ["bikes"]
    (info,) = vlar_command("index", "info", path, "--json").rows
    assert info["videos"] == 3
    assert info["rows"] == sum(row["windows"] for row in rows)
    assert info["model"] == "lite"
    done = vlar_command("index", "remove", path, folder / "bikes.mp4")
    assert done.code == 0
    assert "1 recording removed" in done.advice
    names = [Path(row["path"]).stem for row in vlar_command("index", "list", path, "--json").rows]
    assert "bikes" not in names
    hits = vlar_command("query", path, "people on bicycles", "--json").rows
    assert "bikes" not in {Path(row["path"]).stem for row in hits}
    done = vlar_command("index", "remove", path, "nowhere.mp4")
    assert done.code == 2
    assert "nowhere.mp4" in done.advice


def test_renamed_and_changed_files(vlar_command, folder: Path, tmp_path: Path):
    place, path = tmp_path / "place", tmp_path / "some.vlar"
    place.mkdir()
    videos.make_video(place / "a.mp4", 5)
    videos.make_video(place / "b.mp4", 5, picture=lambda _: videos.noise(1))
    assert vlar_command("index", "add", path, place).code == 0
    (place / "a.mp4").rename(place / "c.mp4")
    shutil.copy(folder / "carphone_pristine.mp4", place / "b.mp4")
    done = vlar_command("index", "add", path, place)
    assert "1 updated" in done.err
    assert "1 recognised by content (1 moved)" in done.err
    shutil.copy(place / "c.mp4", place / "d.mp4")
    done = vlar_command("index", "add", path, place)
    assert f"{place / 'd.mp4'}: copy of {place / 'c.mp4'}" in done.err
    assert "1 recognised by content (1 copied)" in done.err
    assert vlar_command("index", "remove", path, place / "d.mp4").code == 0
    rows = vlar_command("index", "list", path, "--json").rows
    assert {Path(row["path"]).name for row in rows} == {"b.mp4", "c.mp4"}
    best = vlar_command("query", path, "a man talking", "-k", 1, "--json").rows[0]
    assert Path(best["path"]).name == "b.mp4"


def test_a_broken_video_does_not_stop_the_others(vlar_command, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    good = videos.make_video(tmp_path / "good.mp4", 5)
    path = tmp_path / "some.vlar"
    done = vlar_command("index", "add", path, broken, good, "--json")
    assert done.code == 1
    assert str(broken) in done.err
    assert [row["path"] for row in done.rows if "error" in row] == [str(broken)]
    assert len(vlar_command("index", "list", path, "--json").rows) == 1


def test_the_search_cache_can_be_deleted(vlar_command, library: Path):
    before = vlar_command("query", library, "bicycles", "--json").out
    cache_of(library).unlink()
    assert vlar_command("query", library, "bicycles", "--json").out == before
    cache_of(library).write_bytes(b"garbage")
    assert vlar_command("query", library, "bicycles", "--json").out == before


def test_a_library_as_a_whole(vlar_command, library: Path, tmp_path: Path):
    pytest.importorskip("pyarrow")
    done = vlar_command("index", "export", library, tmp_path / "out.parquet", "--json")
    assert done.rows[0]["rows"] >= 3
    assert (tmp_path / "out.parquet").stat().st_size > 1000
    unusual = vlar_command("index", "unusual", library, "-k", 2, "--json").rows
    assert [row["rank"] for row in unusual] == [1, 2]
    assert all(0 < row["score"] < 2 and row["nearest"] for row in unusual)
    assert vlar_command("index", "duplicates", library, "--json").rows == []
    assert vlar_command("index", "highlights", library, "--json").code == 0


def test_a_review_of_a_library(vlar_command, library: Path, tmp_path: Path):
    labels = ("--labels", "a cartoon animal, street traffic, a man talking")
    done = vlar_command("review", library, *labels, "-k", 2, "--json", "--out", tmp_path / "t.json")
    assert done.code == 0
    assert [set(row) >= {"path", "start_s", "uncertainty", "guesses"} for row in done.rows] == [
        True,
        True,
    ]
    tasks = json.loads((tmp_path / "t.json").read_text())
    assert [task["data"]["video"] for task in tasks] == [row["path"] for row in done.rows]
    for task in tasks:
        value = {"choices": ["street traffic"]}
        task["annotations"] = [{"result": [{"type": "choices", "value": value}]}]
    (tmp_path / "answers.json").write_text(json.dumps(tasks))
    support = tmp_path / "support.csv"
    done = vlar_command(
        "review", "lite", "--accept", tmp_path / "answers.json", "--support", support
    )
    assert done.code == 0
    assert "2 clips added" in done.advice
    assert support.read_text().count("street traffic") == 2
    done = vlar_command("review", library, support, *labels)
    assert (done.code, "give no PATH" in done.advice) == (2, True)


def test_an_empty_query_is_refused(vlar_command, library: Path):
    done = vlar_command("query", library, "  ")
    assert done.code == 2
    assert "query" in done.advice


def test_bodies_fetched_later_are_added_to_a_library(
    vlar_command, folder: Path, library: Path, tmp_path: Path
):
    from vlar.pose import networks

    if not networks.is_installed():
        pytest.skip("lite-motion was not fetched")
    before = cache_but(tmp_path / "cache", networks.lite_motion().folder.name)
    path = tmp_path / "old.vlar"
    without = ("env", f"VLAR_CACHE={before}")
    assert vlar_command("index", "add", path, folder, prefix=without).code == 0
    refused = vlar_command("query", path, "bicycles")
    assert refused.code == 2
    assert f"vlar index upgrade {path}" in refused.advice
    done = vlar_command("index", "upgrade", path, "--json")
    assert done.code == 0
    (report,) = done.rows
    assert report["kept"] == ["objects"]
    assert report["computed"] == ["motion", "unseen_body"]
    assert (report["videos"], report["failed"]) == (3, [])
    assert "up to date" in vlar_command("index", "upgrade", path).advice

    def scores(place: Path) -> list[tuple[str, float]]:
        rows = vlar_command("query", place, "a man talking", "-k", 3, "--json").rows
        return [(row["path"], pytest.approx(row["score"], abs=2e-3)) for row in rows]

    assert scores(path) == scores(library)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = scene([(15, 2), (130, -1.5)], count=32)
    place = tmp_path_factory.mktemp("persons") / "two.mp4"
    return videos.make_video(place, 32, fps=16, size=(160, 96), picture=lambda n: frames[n])


def test_people_are_indexed_found_and_drawn(vlar_command, recording: Path, tmp_path: Path):
    library = tmp_path / "l.vlar"
    done = vlar_command("index", "add", library, recording, "--persons", "--detector", "motion")
    assert done.code == 0
    assert "1 new window, 2 rows of people" in done.notes
    asked = ("query", library, "a red square", "--min-probability", "0", "--json")
    page = tmp_path / "p.html"
    done = vlar_command(*asked, "--where", "who=the person on the right", "--html", page)
    assert done.code == 0
    (hit,) = done.rows
    assert hit["box"][0] > 0.4
    assert hit["track"] in (1, 2)
    assert page.stat().st_size > 1000
    done = vlar_command("index", "add", library, recording, "--no-persons")
    assert done.code != 0
    assert "made with rows of people" in done.notes
    assert "Traceback" not in done.notes
