"""Nothing that a job of a server finds lies outside its roots: links, lists, bundles, addresses."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.refusals import refused
from tests.unit.library.fakes import FakeModel, tiny_video
from tests.videos import make_video
from vlar.apps.serve.application import Application
from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.files import AllowedFolders, file_response, open_inside
from vlar.apps.serve.library import ServedLibrary
from vlar.errors import DecodeError, LibraryError
from vlar.files.opening import open_input, open_native, restrict
from vlar.library.ingest.ingest import AddRequest
from vlar.library.library import Library
from vlar.media.lookup import reader
from vlar.media.video.files import content_hash
from vlar.types import Sampling


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A root ``inside`` with one recording of its own, and what lies outside."""
    tiny_video(tmp_path / "inside" / "own.mp4", 1)
    tiny_video(tmp_path / "outside" / "secret.mp4", 2)
    tiny_video(tmp_path / "outside" / "also.mp4", 3)
    yield tmp_path.resolve()
    restrict(None)


def link(place: Path) -> None:
    (place / "inside" / "innocent.mp4").symlink_to(place / "outside" / "secret.mp4")


def folder_of_pictures(place: Path) -> None:
    from PIL import Image

    (place / "inside" / "frames").mkdir()
    (place / "outside" / "frames").mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (number, 9, 9)).save(place / f"outside/frames/{number}.png")
        (place / f"inside/frames/{number}.png").symlink_to(place / f"outside/frames/{number}.png")


def listed(place: Path, *rows: str) -> Path:
    file = place / "inside" / "list.csv"
    file.write_text("\n".join(["path", *rows]) + "\n")
    return file


def add(place: Path, *paths: Path) -> tuple[list[str], list[str]]:
    """Paths that a job of a server indexes, and its failures."""
    restrict([place / "inside"])
    with Library(place / "l.vlar", FakeModel()) as library:
        report = library.ingest(AddRequest([*paths], served=True))
        stored = [Path(video.path).name for video in library.videos()]
    return stored, [failure.message for failure in report.failed]


def test_a_link_in_a_folder_leads_nowhere(place: Path) -> None:
    link(place)
    stored, failed = add(place, place / "inside")
    assert stored == ["own.mp4"]
    assert len(failed) == 1
    assert "innocent.mp4" in failed[0]
    assert "outside the folders" in failed[0]
    assert str(place / "outside") not in failed[0]


def test_pictures_of_a_folder_that_are_links_are_not_read(place: Path) -> None:
    folder_of_pictures(place)
    stored, failed = add(place, place / "inside" / "frames")
    assert not stored
    assert len(failed) == 1


@pytest.mark.parametrize(
    "row",
    ["{place}/outside/secret.mp4", "../outside/secret.mp4", "file://{place}/outside/also.mp4"],
)
def test_a_list_names_nothing_outside(place: Path, row: str) -> None:
    file = listed(place, "own.mp4", row.format(place=place))
    stored, failed = add(place, file)
    assert stored == ["own.mp4"]
    assert len(failed) == 1


def test_a_bundle_whose_part_lies_outside_is_not_read(place: Path) -> None:
    (place / "inside" / "x.bundle.json").write_text(json.dumps({"video": "../outside/secret.mp4"}))
    restrict([place / "inside"])
    with pytest.raises(DecodeError, match="outside the folders"):
        reader("bundle").read_clip(place / "inside" / "x.bundle.json", None, Sampling(2))


class Asked(http.server.BaseHTTPRequestHandler):
    """Counts who asks."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def host() -> Iterator[str]:
    Asked.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_job_asks_no_host(place: Path, host: str) -> None:
    pytest.importorskip("fsspec")
    stored, failed = add(place, listed(place, "own.mp4", f"{host}/x.mp4"))
    assert stored == ["own.mp4"]
    assert len(failed) == 1
    restrict([place / "inside"])
    with Library(place / "l.vlar", FakeModel()) as library:
        failed = library.add([f"{host}/x.mp4", f"{host}/list.csv", f"{host}/a.tar"]).failed
    assert len(failed) == 3
    assert not Asked.asked


def test_a_list_of_a_person_asks_no_host_either_but_where_it_was_said(
    place: Path, host: str
) -> None:
    pytest.importorskip("aiohttp")
    file = listed(place, "own.mp4", f"{host}/x.mp4")
    with Library(place / "l.vlar", FakeModel()) as library:
        (failed,) = library.add(file).failed
        assert "--remote" in failed.message
        assert not Asked.asked
        (failed,) = library.ingest(AddRequest(file, remote=True)).failed
        assert "no such file" in failed.message
        assert Asked.asked


def test_lists_name_no_lists(place: Path) -> None:
    """Two lists that name each other are 2^30 rows."""
    for name, other in (("a", "b"), ("b", "a")):
        (place / "inside" / f"{name}.csv").write_text(f"path\n{other}.csv\n{other}.csv\n")
    begin_s = time.monotonic()
    with Library(place / "l.vlar", FakeModel()) as library:
        failed = library.add(place / "inside" / "a.csv").failed
    assert "names the list" in failed[0].message
    assert time.monotonic() - begin_s < 10


def test_a_swap_between_the_look_and_the_opening_fails(place: Path) -> None:
    """What lies at the path became a link after it was compared with the roots."""
    restrict([place / "inside"], everything=True)
    target = place / "inside" / "own.mp4"
    real = os.path.realpath
    try:
        os.path.realpath = lambda path, **_: str(path)  # type: ignore[assignment]
        target.unlink()
        target.symlink_to(place / "outside" / "secret.mp4")
        for opens in (open_input, open_native):
            with pytest.raises(PermissionError, match="outside"), opens(target):
                pass
        with pytest.raises(DecodeError):
            reader("video").read_clip(target, None, Sampling(2))
        with pytest.raises(DecodeError):
            content_hash(target)
    finally:
        os.path.realpath = real


def test_a_folder_that_becomes_a_link_is_not_sent(place: Path) -> None:
    inside = place / "inside"
    checked = AllowedFolders([inside]).real(str(inside / "own.mp4"))
    inside.rename(place / "moved")
    inside.symlink_to(place / "outside")
    shutil.copy(place / "outside" / "secret.mp4", place / "outside" / "own.mp4")
    assert refused(ServeError, "", open_inside, checked).value.status == 410
    assert refused(ServeError, "", file_response, checked, None).value.status == 410


def test_what_a_server_added_gives_no_root(place: Path) -> None:
    """After a restart without ``--root`` only folders count that a person added from."""
    tiny_video(place / "inside" / "deep" / "sent.mp4", 4)
    with Library(place / "l.vlar", FakeModel()) as library:
        library.add(place / "outside" / "also.mp4")
        restrict([place / "inside"])
        assert library.ingest(AddRequest([place / "inside" / "deep"], served=True)).added == 1
        restrict(None)
    served = ServedLibrary(place / "l.vlar", create=False)
    assert AllowedFolders.around(served.root_paths()).folders == (place / "outside",)
    served.close()
    with Library(place / "l.vlar", FakeModel()) as library:
        library.add(place / "inside" / "own.mp4")
    served = ServedLibrary(place / "l.vlar", create=False)
    folders = AllowedFolders.around(served.root_paths()).folders
    assert folders == (place / "inside", place / "outside")
    (place / "inside").rename(place / "moved")
    (place / "inside").symlink_to("/etc")
    assert AllowedFolders.around(served.root_paths()).folders == (place / "outside",)
    served.close()


def packed(place: Path) -> Path:
    file = place / "inside" / "day.tar"
    with tarfile.open(file, "w") as tar:
        tar.add(place / "inside" / "own.mp4", "own.mp4")
    return file


def ended(application: Application, job: dict[str, Any]) -> Any:
    found = application.tasks.jobs.get(job["id"])
    end_s = time.monotonic() + 60
    while found.state in ("queued", "running"):
        assert time.monotonic() < end_s, found
        time.sleep(0.05)
    return found


def test_the_jobs_of_a_real_server_stay_in_its_root(
    place: Path, host: str, lite_model: Any
) -> None:
    """One request of a folder with a link, a list and a bundle, and one of each alone."""
    make_video(place / "inside" / "own.mp4", 10)
    make_video(place / "outside" / "secret.mp4", 12)
    link(place)
    file = listed(place, "../outside/secret.mp4", f"{host}/x.mp4", "own.mp4")
    with Library(place / "l.vlar", lite_model) as library:
        assert library.add(packed(place)).added == 1
    application = Application(place / "l.vlar", "lite", place / "state", roots=[place / "inside"])
    try:
        job = ended(application, application.tasks.add([str(place / "inside"), str(file)], {}))
        assert job.state == "done", job
        assert job.report["added"] + job.report["moved"] == 1
        assert len(job.report["failed"]) == 3
        assert not any("secret" in row["path"] for row in application.videos()["videos"])
        # An archive in a root: the same answer for add, picture, span and classify.
        video = application.videos(contains="day.tar")["videos"][0]["video"]
        for call in (
            lambda: application.tasks.add([str(place / "inside" / "day.tar")], {}),
            lambda: application.tasks.add([f"{host}/x.mp4"], {}),
            lambda: application.thumbnail(video),
            lambda: application.span(video, 0.0, 0.5),
            lambda: application.sources.file(video),
        ):
            assert refused(ServeError, "address or an archive", call).value.status == 415
        assert not Asked.asked
    finally:
        application.close()


def test_a_cut_never_writes_through_a_link(place: Path) -> None:
    from vlar.apps.serve.agent_tools import Writing

    made = place / "made.mp4"
    made.write_bytes(b"cut")

    class Stub:
        """An application with one recording."""

        def span(self, *_: object) -> Path:
            return made

        @property
        def sources(self) -> Any:
            return type("S", (), {"stored_path": staticmethod(lambda _: "/x/a.mp4")})

    tools = Writing(Stub(), place / "cuts")  # type: ignore[arg-type]
    (place / "cuts").mkdir()
    dangling = place / "cuts" / "a-abcdef_0.00-1.00.mp4"
    dangling.symlink_to(place / "outside" / "planted.mp4")
    refused(LibraryError, "cannot be written", tools.cut, "abcdef", 0.0, 1.0)
    assert not (place / "outside" / "planted.mp4").exists()
    dangling.unlink()
    assert Path(tools.cut("abcdef", 0.0, 1.0)["path"]).read_bytes() == b"cut"
