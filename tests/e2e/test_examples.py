"""The scripts of examples/: short, and each runs from its command."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import videos
from vlar.segments import Segment, write

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small clips, annotations and files of a scale."""
    folder = tmp_path_factory.mktemp("examples")
    for number, label in enumerate(("left", "right")):
        (folder / "support" / label).mkdir(parents=True)
        (folder / "scale" / label).mkdir(parents=True)
        for i in range(3):
            clip = folder / "support" / label / f"{i}.mp4"
            videos.make_video(clip, 8, picture=lambda _, s=9 * number + i: videos.noise(s))
            rows = [f"{t / 8} {t * (number + 0.1) + i}" for t in range(80)]
            (folder / "scale" / label / f"{i}.scale").write_text("\n".join(rows))
    write(folder / "bouts.csv", [Segment("a.mp4", 0, 2, "run"), Segment("a.mp4", 3, 4, "sit")])
    return folder


def run(place: Path, name: str, *arguments: str) -> str:
    root = str(EXAMPLES.parent)
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    answer = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=place, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    return answer.stdout


def test_examples_are_short_and_say_what_they_do():
    assert len(NAMES) >= 10
    for name in NAMES:
        text = (EXAMPLES / name).read_text("utf-8")
        assert text.count("\n") <= (40 if "retriever" in name else 60), name
        assert ast.get_docstring(ast.parse(text)), name


#: Arguments, and what the output has. Those with other needs have tests of their own below.
COMMANDS = {
    "classify_folder.py": (["support", "cooking, dancing", "out.csv"], "6 of 6 recordings"),
    "three_clips.py": (["support", "mine", "support/left/0.mp4"], "left"),
    "search_and_cut.py": (["support", "dancing", "found"], "01_"),
    "measure_work.py": (["support/left/0.mp4", "picking, placing"], "cycles"),
    "ethogram.py": (["bouts.csv", "budget.csv"], "2 rows of 1 files"),
    "own_sensor.py": (["scale", "scale/right/1.scale"], "right"),
    "forklift_alarm.py": (["support", "http://127.0.0.1:9/hook"], ""),
}


@pytest.mark.slow  # each loads the default model
@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_runs(place: Path, name: str):
    arguments, shown = COMMANDS[name]
    assert shown in run(place, name, *arguments)


@pytest.mark.slow
def test_a_stream_is_moderated(place: Path):
    import http.server
    import threading

    data = videos.make_video(place / "live.ts", 100).read_bytes()
    asked: list[str] = []

    class Once(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if len(asked) == 1 else 404)
            self.end_headers()
            if len(asked) == 1:
                self.wfile.write(data)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Once)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}/live.ts"
        code = (
            "import sys, runpy\nfrom vlar.plugins.streams import answers as live\n"
            "from vlar.plugins.streams.stream import Reconnect\n"
            "old, once = live.classify_live, Reconnect(1, 0.01)\n"
            "live.classify_live = lambda m, a, r: old(m, a, r, once)\n"
            f"sys.argv = ['x', {address!r}, 'cooking, dancing']\n"
            f"runpy.run_path({str(EXAMPLES / 'moderate_stream.py')!r}, run_name='__main__')\n"
        )
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr[-2000:]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_tc_clip_is_trained(place: Path):
    from tests import tiny_models

    base = tiny_models.save("clip", place / "tiny-clip")
    out = run(place, "train_tc_clip.py", "support", "trained", f"hf:{base}", "1")
    assert "accuracy on the examples" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package"),
    [("langchain_retriever.py", "langchain_core"), ("llama_index_retriever.py", "llama_index")],
)
def test_agents_retrieve_moments(place: Path, name: str, package: str):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    import vlar

    with vlar.Library(place / "agents.vlar") as library:
        library.add(place / "support")
    out = run(place, name, "agents.vlar", "dancing")
    assert "start_s" in out
    assert ".mp4" in out


@pytest.mark.slow
def test_a_space_answers(place: Path):
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed")
    out = run(place, "gradio_space.py", "check", "support/left/0.mp4", "cooking, dancing")
    assert "(unknown)" in out
