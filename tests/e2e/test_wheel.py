"""The built wheel in an empty environment: what a stranger installs must answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def call(*command: object, **more) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=1800, **more
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_wheel_answers_in_an_empty_environment(tmp_path: Path):
    pytest.importorskip("build")
    call(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, CHECKOUT)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 6_000_000  # text banks take 2.8 MB
    venv.create(tmp_path / "env", with_pip=True)
    commands = tmp_path / "env" / "bin"
    call(commands / "pip", "install", "-q", wheel)
    own = {"HOME": str(tmp_path), "VLAR_CACHE": str(tmp_path / "cache")}
    where = {"cwd": tmp_path, "env": {"PATH": "/usr/bin:/bin", **own}}
    settings = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    get = {"cwd": tmp_path, "env": {**where["env"], **settings}}
    call(commands / "vlar", "models", "get", "lite", "demo", **get)
    rows = call(commands / "vlar", "doctor", "--json", **where).splitlines()
    assert all(json.loads(row)["ok"] for row in rows)
    assert "vlar query" in call(commands / "vlar", "demo", "--keep", "clips", **where)
    asked = ("classify", "clips/bikes.mp4", "--labels", "street traffic, cooking", "--json")
    answer = json.loads(call(commands / "vlar", *asked, **where))
    assert answer["predictions"][0]["label"] == "street traffic"
    listed = call(commands / "python", "-c", LOAD_EVERYTHING, **where).split()
    assert "everyday_actions" in listed
    assert "plain" in listed


LOAD_EVERYTHING = """
from vlar.files import resources
from vlar.generators.descriptions.chat_describer import Instructions
from vlar.language.bank import load_bank
from vlar.language.prompts import load_templates
banks, prompts = resources.names("text_banks", ".json"), resources.names("prompts", ".txt")
for name in banks:
    if name != "imagenet_objects":
        load_bank(name)
for name in prompts:
    load_templates(name)
Instructions.packaged()
print(*banks, *prompts)
"""
