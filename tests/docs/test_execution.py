"""Every command and snippet of the pages and of the help texts runs, on small files.

What cannot run says why in the page (see `pages.py`), or below for examples of the help.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import pytest

from tests.docs import pages, place, verbs
from vlar.pose import networks

pytestmark = pytest.mark.slow

# Commands whose examples are not run, and why.
NOT_RUN = {
    "vlar train": "trains for minutes; tests/e2e/test_train.py",
    "vlar demo": "tests/e2e/test_demo.py",
    "vlar serve": "runs until it is stopped; tests/unit/apps/serve",
    "vlar export": "needs weights that are fetched from a hub; tests/unit/plugins/export",
    "vlar shots": "needs a network that is fetched; tests/e2e/test_recordings.py",
    "vlar models get": "needs the network; tests/unit/pose",
    "vlar models trust openclip": "needs weights of open_clip; tests/unit/encoders",
    "vlar index upgrade holiday.vlar --model siglip2": "needs weights that are fetched from a hub",
    "vlar review mine tracks/": "needs annotated recordings; tests/unit/behaviour/annotated",
    "vlar adapt tracks/": "needs annotated recordings; tests/unit/behaviour/annotated",
    'vlar query holiday.vlar "riding a bike" --yes': "needs a library with several recordings",
    "vlar concept": "needs a library with several recordings; tests/unit/library/query",
    "vlar calibrate holiday.vlar": "needs labelled recordings of a library",
}
NEED_BODIES = ("vlar pose",)
# Pages whose blocks are one package, installed and run by a test of their own.
OWN_TEST = dict.fromkeys(
    ("docs/extending.md", "docs/extending_apps.md"), "tests/e2e/test_extending.py"
)


def runnable(language: str) -> dict[str, list[pages.Block]]:
    """The blocks of each page that run here."""
    found = [b for b in pages.all_blocks() if b.language == language and b.reason is None]
    of_pages = groupby(found, key=lambda block: block.page)
    return {page: list(group) for page, group in of_pages if page not in OWN_TEST}


SHELL, PYTHON = runnable("bash"), runnable("python")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return place.make(tmp_path_factory.mktemp("place"))


def run_script(script: str, at: Path) -> None:
    done = place.shell(script, at)
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr, f"{script}\n{done.stderr}"


@pytest.mark.parametrize("page", SHELL)
def test_the_commands_of_a_page_run(page: str, folder: Path, tmp_path: Path):
    here = place.copy(folder, tmp_path / "place", [block.text for block in SHELL[page]])
    with ExitStack() as servers:
        for block in SHELL[page]:
            needs_bodies = any(each in block.text for each in NEED_BODIES)
            if needs_bodies and not networks.is_installed():
                continue
            if block.background:
                servers.enter_context(place.background(block.text, here))
            else:
                run_script(block.text, here)


@pytest.fixture(scope="module")
def snippets(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """The error of each page's snippets; all run in one process, as loading costs most."""
    base = tmp_path_factory.mktemp("snippets")
    work = []
    for number, (page, found) in enumerate(PYTHON.items()):
        here = place.copy(folder, base / str(number), [block.text for block in found])
        listed = [{"place": block.place, "text": block.text} for block in found]
        work.append({"page": page, "folder": str(here), "blocks": listed})
    root = os.pathsep.join(filter(None, [str(pages.ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.run_snippets"],
        input=json.dumps(work),
        env=dict(os.environ, PYTHONPATH=root),
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("page", PYTHON)
def test_the_snippets_of_a_page_run(page: str, snippets: dict[str, str | None]):
    assert snippets[page] is None, snippets[page]


# The library knows its recordings by their full paths: what removes some comes last.
VERBS = sorted(verbs.verbs(), key=lambda verb: verb.endswith("remove"))


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_help_text_run(verb: str, folder: Path, tmp_path: Path):
    lines = [line for line in verbs.examples(verb) if not line.startswith(tuple(NOT_RUN))]
    for number, line in enumerate(lines):
        if line.startswith(NEED_BODIES) and not networks.is_installed():
            continue
        makes = place.made_by([line])
        run_script(line, place.copy(folder, tmp_path / str(number), [line]) if makes else folder)
