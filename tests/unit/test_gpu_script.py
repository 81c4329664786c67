"""``benchmarks/gpu.py`` on an accelerator without hardware: every part runs there."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import pytest

from tests.fake_device import DEVICE, fake_device
from tests.unit.encoders.clip import models

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    models.save_openclip(tmp_path / "clip", models.openclip_config(quick_gelu=True))
    return argparse.Namespace(
        model=f"openclip:{tmp_path / 'clip'}", device=DEVICE, forms=["tf32", "bf16"], clips=2,
        batch=4, train=2, files=1, rounds=1,
    )  # fmt: skip


@pytest.mark.slow
def test_every_part_runs_on_the_device_and_a_failing_one_is_a_cell(
    options: argparse.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("benchmarks_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    make = script.make_video
    monkeypatch.setattr(script, "make_video", lambda path, *_, **__: make(path, 8, fps=4))
    with fake_device() as counts:
        report = script.measured(options, tmp_path)
    assert counts.to_device > 0
    assert list(report["forms"]) == options.forms
    for rows in report["forms"].values():
        assert [row for row in rows.values() if not row.get("a_second", 0) > 0] == []
        assert {name.partition(",")[0] for name in rows} == {
            *("encode", "tower", "texts", "add", "query", "train")
        }
    report["forms"]["bf16"]["texts"] = {"error": "OutOfMemoryError"}
    table = script.table(report)
    assert "| texts |" in table
    assert "OutOfMemoryError" in table
