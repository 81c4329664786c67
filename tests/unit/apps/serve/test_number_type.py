"""A server and its jobs compute in the number type of the library, else in that of the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import videos
from tests.unit.encoders.clip import models
from vlar.apps.serve import job_child
from vlar.apps.serve.application import Application
from vlar.encoders.clip import options
from vlar.library.library import Library

HALF = "precision=bfloat16"


@pytest.mark.parametrize(
    ("stored", "dtype", "precision"),
    [(None, None, HALF), (None, "float32", "precision=float32"), ("float32", None, "")],
)
def test_a_job_adds_in_the_type_that_the_server_answers_in(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stored: str | None,
    dtype: str | None,
    precision: str,
) -> None:
    models.save_openclip(tmp_path / "clip", models.openclip_config(quick_gelu=True))
    spec, path = f"openclip:{tmp_path / 'clip'}", tmp_path / "small.vlar"
    (tmp_path / "clips").mkdir()
    first, second = (
        videos.make_video(tmp_path / "clips" / f"{name}.mp4", n_frames, fps=4)
        for name, n_frames in (("a", 8), ("b", 9))
    )
    with Library(path, spec) as library:
        if stored:
            library.add([first])
        else:
            with library._connection.writing():  # a library without rows
                pass
    monkeypatch.setattr(options, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(options, "default_precision", lambda device: "bfloat16")
    state, roots = tmp_path / "state", [tmp_path / "clips"]
    application = Application(path, spec, state, roots=roots, dtype=dtype)
    jobs: list[dict[str, object]] = []
    with monkeypatch.context() as patch:
        patch.setattr(application.tasks.jobs, "start", lambda *job: jobs.append(job[2]))
        with pytest.raises(AttributeError, match="to_dict"):  # it is run here, not in a process
            application.tasks.add([str(second)], {})
    before = application.models.own().fingerprint
    report = job_child._JOBS["add"](jobs[0], lambda event: None)
    assert (report["added"], report["failed"]) == (1, [])
    with Library(path, create=False) as library:
        info = library.info()
    assert info.model == (f"{spec}?{precision}" if precision else spec)
    assert info.fingerprint == before
    application.close()
