"""One small library with real rows, served in this process; each test file shares it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests import videos
from vlar.apps.serve.access import Access
from vlar.apps.serve.application import Application
from vlar.apps.serve.errors import ServeLimits
from vlar.apps.serve.http import HttpInterface
from vlar.library.library import Library

HOST = "http://127.0.0.1"


@dataclass(frozen=True)
class Served:
    application: Application
    client: TestClient
    folder: Path
    library: Path

    def id_of(self, name: str) -> str:
        found = self.client.get("/api/videos", params={"contains": name}).json()["videos"]
        return found[0]["video"]


@pytest.fixture(scope="session")
def made_library(tmp_path_factory: pytest.TempPathFactory, lite_model) -> Path:
    """Three recordings: H.264, one that browsers do not play, and noise."""
    folder = tmp_path_factory.mktemp("served")
    clips = folder / "clips"
    clips.mkdir()
    videos.make_video(clips / "moving.mp4", 60)
    videos.make_video(clips / "old.avi", 40, codec="mpeg4", b_frames=0)
    videos.make_noise_video(clips / "noise.mp4", 30)
    with Library(folder / "small.vlar", lite_model) as library:
        assert library.add(clips, tags={"place": "desk"}).added == 3
    return folder


@pytest.fixture(scope="module")
def served(made_library: Path, tmp_path_factory: pytest.TempPathFactory, lite_model):
    """The library, copied, so that a file's tests may change it."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(made_library / "small.vlar", folder / "small.vlar")
    yield from serve(folder / "small.vlar", made_library / "clips", folder / "state", lite_model)


def serve(library: Path, clips: Path, state: Path, model, **limits) -> Iterator[Served]:
    settings = {"upload_bytes": 200_000, "request_s": 30.0, **limits}
    application = Application(library, "lite", state, limits=ServeLimits(**settings))
    application.models._own = model  # the one that is loaded already
    application.bench.wait_s = 60.0  # views are asked for once
    app = HttpInterface(application, Access(None)).app()
    with TestClient(app, HOST, raise_server_exceptions=False) as client:
        yield Served(application, client, clips, library)
    application.close()
