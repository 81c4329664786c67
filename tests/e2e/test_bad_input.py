"""Bad input and hostile files: a line of advice, other files still done, designed exit codes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import videos
from tests.fixtures.models_1 import tiny
from tests.hostile.kit import SECRET
from vlar.encoders.lite.towers import CACHE_FOLDER

LABELS = "riding bikes, talking, dancing"


# Root may read and write everything; dropping these capabilities makes modes count for it too.
AS_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


def as_user() -> tuple[str, ...]:
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("modes do not bind root, and setpriv is not here to drop its capabilities")
    return AS_USER


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short: what it shows matters nowhere here, and every frame is looked at."""
    path = tmp_path_factory.mktemp("good") / "good.mp4"
    videos.make_video(path, n_frames=3)
    return path


def missing(folder: Path) -> Path:
    return folder / "nowhere.mp4"


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").write_bytes(b"")
    return folder / "empty.mp4"


def renamed_text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("this is not a video\n" * 100)
    return folder / "text.mp4"


def cut_short(folder: Path) -> Path:
    whole = folder / "whole.mp4"
    videos.make_video(whole, n_frames=60)
    path = folder / "cut.mp4"
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) // 10])
    whole.unlink()
    return path


def audio_only(folder: Path) -> Path:
    path = folder / "sound.mp4"
    videos.make_audio(path, "aac")
    return path


def no_videos(folder: Path) -> Path:
    (folder / "notes").mkdir()
    (folder / "notes" / "readme.txt").write_text("nothing to see")
    return folder / "notes"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


BAD: list[Callable[[Path], Path]] = [
    missing, empty, renamed_text, cut_short, audio_only, no_videos, pipe,
]  # fmt: skip


def test_bad_videos_do_not_stop_the_others(vlar_command, good: Path, tmp_path: Path):
    bad = [make(tmp_path) for make in BAD]
    done = vlar_command("classify", *bad, good, "--labels", LABELS, "--json")
    assert done.code == 1
    rows = {row["path"]: row for row in done.rows}
    assert set(rows) == {str(path) for path in [*bad, good]}
    assert rows[str(good)]["predictions"]
    said = [line for line in done.notes.splitlines() if line.startswith("vlar: ")]
    assert len(said) == len(bad)
    for path in bad:
        assert set(rows[str(path)]["error"]) == {"kind", "message"}
        assert sum(str(path) in line for line in said) == 1


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_only_bad_input_is_exit_code_2(vlar_command, tmp_path: Path, make):
    bad = make(tmp_path)
    done = vlar_command("classify", bad, "--labels", LABELS)
    assert done.code == 2
    assert str(bad) in done.advice
    assert done.out == ""


def test_unreadable_file(vlar_command, good: Path, tmp_path: Path):
    locked = tmp_path / "locked.mp4"
    shutil.copy(good, locked)
    locked.chmod(0)
    done = vlar_command("classify", locked, good, "--labels", LABELS, "--json", prefix=as_user())
    assert done.code == 1
    assert "ermission" in done.advice
    assert [row["path"] for row in done.rows] == [str(locked), str(good)]


def test_one_pixel(vlar_command, tmp_path: Path):
    path = tmp_path / "pixel.avi"
    videos.make_video(path, 5, size=(1, 1), codec="ffv1", pix_fmt="bgr0")
    done = vlar_command("classify", path, "--labels", LABELS, "--json")
    assert done.code == 0
    assert len(done.rows[0]["predictions"]) == 3


@pytest.mark.parametrize("labels", ["", " , ,", "\n"])
def test_no_labels(vlar_command, good: Path, labels: str):
    done = vlar_command("classify", good, "--labels", labels)
    assert done.code == 2
    assert "label" in done.advice


def test_label_file_that_is_not_there(vlar_command, good: Path):
    done = vlar_command("classify", good, "--labels", "labls.txt")
    assert done.code == 2
    assert "labls.txt" in done.advice


def test_no_labels_option(vlar_command, good: Path):
    done = vlar_command("classify", good)
    assert done.code == 2
    assert "--labels" in done.advice


def test_labels_given_twice_count_once(vlar_command, good: Path):
    done = vlar_command("classify", good, "--labels", "dancing, Dancing, talking", "--json")
    assert done.code == 0
    assert "ancing" in done.advice
    assert len(done.rows[0]["predictions"]) == 2


def test_one_label(vlar_command, good: Path):
    done = vlar_command("classify", good, "--labels", "dancing", "--json")
    assert done.code == 0
    (prediction,) = done.rows[0]["predictions"]
    assert prediction["probability"] + done.rows[0]["unknown_probability"] == pytest.approx(
        1, abs=1e-4
    )


def test_more_labels_than_objects(vlar_command, good: Path, tmp_path: Path):
    listed = tmp_path / "many.txt"
    listed.write_text("\n".join(f"doing thing number {i}" for i in range(1_200)))
    done = vlar_command("classify", good, "--labels", listed, "--json", timeout_s=300)
    assert done.code == 0
    assert len(done.rows[0]["predictions"]) == 5


def test_a_label_of_2000_characters_is_cut_and_said(vlar_command, good: Path):
    done = vlar_command("classify", good, "--labels", f"dancing, {'very long ' * 200}", "--json")
    assert done.code == 0
    assert "tokens" in done.advice


def test_emoji_and_cjk_labels(vlar_command, good: Path):
    done = vlar_command("classify", good, "--labels", "🏃 running, 跳舞, قفز", "--json")
    assert done.code == 0
    assert {p["label"] for p in done.rows[0]["predictions"]} == {"🏃 running", "跳舞", "قفز"}


def test_unknown_model_and_bank(vlar_command, good: Path):
    done = vlar_command("classify", good, "--labels", LABELS, "--model", "lit")
    assert done.code == 2
    assert "did you mean 'lite'" in done.advice
    done = vlar_command("classify", good, "--labels", "bank:everyday_action")
    assert done.code == 2
    assert "did you mean 'everyday_actions'" in done.advice


def test_support_with_one_class(vlar_command, good: Path, tmp_path: Path):
    (tmp_path / "support" / "dancing").mkdir(parents=True)
    shutil.copy(good, tmp_path / "support" / "dancing")
    done = vlar_command("adapt", tmp_path / "support", "--out", tmp_path / "model")
    assert done.code == 2
    assert "dancing" in done.advice
    assert not (tmp_path / "model").exists()


def test_support_that_is_not_there(vlar_command, tmp_path: Path):
    done = vlar_command("adapt", tmp_path / "nowhere", "--out", tmp_path / "model")
    assert done.code == 2
    assert "nowhere" in done.advice


def test_query_of_a_library_that_is_not_there(vlar_command, tmp_path: Path):
    done = vlar_command("query", tmp_path / "nowhere.vlar", "dancing")
    assert done.code == 2
    assert "nowhere.vlar" in done.advice
    assert not (tmp_path / "nowhere.vlar").exists()


@pytest.fixture(scope="module")
def indexed(vlar_command, good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("indexed") / "some.vlar"
    assert vlar_command("index", "add", path, good).code == 0
    return path


@pytest.fixture
def library(indexed: Path, tmp_path: Path) -> Path:
    """A copy of its own for a test that does it harm."""
    return shutil.copytree(indexed, tmp_path / "some.vlar")


def test_library_of_another_encoder(vlar_command, library: Path):
    # A library says which encoder made it; another one's vectors must not be searched.
    with sqlite3.connect(library / "library.sqlite") as database:
        database.execute("update meta set value = 'another' where key = 'fingerprint'")
    done = vlar_command("query", library, "dancing")
    assert done.code == 2
    assert "another" in done.advice or "encoder" in done.advice


def test_corrupted_library(vlar_command, library: Path):
    for name in ("library.sqlite-wal", "library.sqlite-shm"):
        (library / name).unlink(missing_ok=True)
    file = library / "library.sqlite"
    file.write_bytes(b"\x13garbage" * 4000)
    before = file.read_bytes()
    for command in (("query", library, "dancing"), ("index", "info", library)):
        done = vlar_command(*command)
        assert done.code == 2
        assert "library.sqlite" in done.advice
    assert file.read_bytes() == before


def test_read_only_library_still_answers(vlar_command, library: Path, good: Path):
    writable = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    for path in [*library.iterdir(), library]:
        path.chmod(path.stat().st_mode & ~writable)
    try:
        query = ("query", library, "dancing", "--json", "--min-probability", 0)
        done = vlar_command(*query, prefix=as_user())
        assert done.code == 0
        assert done.rows[0]["path"] == str(good)
        done = vlar_command("index", "add", library, good, "--tag", "a=b", prefix=as_user())
        assert done.code == 2
        assert str(library) in done.advice
    finally:
        for path in [library, *library.iterdir()]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_model_cannot_be_saved_on_a_read_only_disk(vlar_command, good: Path, tmp_path: Path):
    for label in ("dancing", "talking"):
        (tmp_path / "support" / label).mkdir(parents=True)
        shutil.copy(good, tmp_path / "support" / label)
    place = tmp_path / "place"
    place.mkdir(mode=0o555)
    done = vlar_command("adapt", tmp_path / "support", "--out", place / "model", prefix=as_user())
    assert done.code == 2
    assert str(place) in done.advice


@pytest.mark.slow
def test_cache_that_cannot_be_written(vlar_command, cache: Path, good: Path, tmp_path: Path):
    """The towers are made in memory; the anchors of the objects, which take longest, are kept."""
    nowhere = tmp_path / "cache"
    (nowhere / CACHE_FOLDER).mkdir(parents=True)
    for kept in (cache / CACHE_FOLDER).glob("labels-*"):
        (nowhere / CACHE_FOLDER / kept.name).symlink_to(kept)
    for folder in (nowhere / CACHE_FOLDER, nowhere):
        folder.chmod(0o555)
    prefix = (*as_user(), "env", f"VLAR_CACHE={nowhere}")
    done = vlar_command("classify", good, "--labels", LABELS, "--json", prefix=prefix)
    assert done.code == 0
    assert done.rows[0]["predictions"]


@pytest.mark.parametrize(
    "arguments", [("classify", "--bogus"), ("classify",), ("clasify", "a.mp4")]
)
def test_a_wrong_command_line_is_exit_code_2(vlar_command, arguments: tuple[str, ...]):
    done = vlar_command(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "vlar" in done.err


posix = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")


@pytest.fixture
def hostile(tmp_path: Path, sparse_clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two good clips and two that the decoder of every process here fails on."""
    folder = tmp_path / "videos"
    folder.mkdir()
    first, second, *_ = sparse_clips.values()
    for name, clip in (("a", first), ("abort", second), ("hang", first), ("z", second)):
        shutil.copy(clip, folder / f"{name}.mp4")
        with (folder / f"{name}.mp4").open("ab") as file:
            file.write(name.encode())  # no two files have one content
    paths = [str(Path(__file__).parents[1] / "faulty_decoder"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("VLAR_FILE_TIMEOUT_S", "3")
    return folder


@posix
def test_index_add_names_them_and_skips_them_next_time(vlar_command, hostile: Path, tmp_path: Path):
    library = tmp_path / "l.vlar"
    first = vlar_command("index", "add", library, hostile, "--json")
    assert first.code == 1
    failed = {Path(row["path"]).stem: row["error"] for row in first.rows if "error" in row}
    assert {name: error["kind"] for name, error in failed.items()} == {
        "abort": "crash",
        "hang": "timeout",
    }
    assert "crashed (SIGABRT)" in failed["abort"]["message"]
    assert sorted(Path(r["path"]).stem for r in first.rows if "error" not in r) == ["a", "z"]
    second = vlar_command("index", "add", library, hostile, "--json")
    assert second.code == 1
    assert [row["error"]["kind"] for row in second.rows if "error" in row] == ["crash", "timeout"]
    assert second.err.count("skipped, its reading failed before") == 2
    assert second.err.count("; --retry reads it") == 2


@posix
def test_classify_and_check_answer_for_the_others(vlar_command, hostile: Path):
    done = vlar_command("classify", hostile, "--labels", "riding a bike, cooking", "--json")
    assert done.code == 1
    kinds = [row["error"]["kind"] if "error" in row else "answer" for row in done.rows]
    assert kinds == ["answer", "crash", "timeout", "answer"]
    done = vlar_command("check", hostile, "--json")
    assert done.code == 1
    assert [row["kind"] for row in done.rows] == ["ok", "crash", "timeout", "ok"]
    assert done.rows[1]["reason"].startswith("its decoder crashed (SIGABRT)")
    assert done.rows[1]["readable"] == 0


def test_sound_dangerous_and_not_usable(vlar_command, tmp_path: Path) -> None:
    sound = Path(tiny.__file__).parent / "ridge"
    done = vlar_command("doctor", "--audit", sound, "--json")
    assert done.code == 0
    assert {row["severity"] for row in done.rows} == {"remark"}
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_text(SECRET)
    (folder / "vlar.json").symlink_to(tmp_path / "secret")
    (folder / "run.sh").write_text("touch never")
    done = vlar_command("doctor", "--audit", folder, "--json")
    assert done.code == 1
    assert all(set(row) == {"severity", "file", "problem", "advice"} for row in done.rows)
    assert {row["severity"] for row in done.rows} == {"danger", "damage"}
    assert SECRET not in done.out + done.err
    done = vlar_command("doctor", "--audit", folder)
    assert done.code == 1
    assert done.out.splitlines()[0].startswith("danger  ")
    done = vlar_command("doctor", "--audit", tmp_path / "nowhere")
    assert done.code == 2
    assert "nowhere" in done.advice
