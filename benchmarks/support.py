"""Installations of vlar at both ends of the ranges of its packages, by this Python or by others.

    python benchmarks/support.py [--minors 3.10 3.11] [--out evals/results/support.json]

An environment in a temporary folder gets vlar from this checkout: once with the newest packages
that ``pyproject.toml`` allows, once with the oldest of them that have a wheel for that Python. It
gets the light core first. Then ``vlar`` fetches the weights of ``lite`` and answers for made clips,
while no library of the extras is there; with the extras ``serve`` and ``clip`` it serves, and
answers with models of torch. Each environment is a row: the size of the light core, the versions
that were installed, and ``passed`` or the first error: ``failed`` where a command of the new
environment fails, ``not installed`` where pip does, ``not finished`` where time runs out. Torch
comes from wheels that ``pip`` finds on this disk (``find-links``), never from an index, which may
answer with gigabytes for GPUs. Where none fits, what needs no torch is tried, and the row names it.

``--out`` merges rows into a file and writes the table of ``docs/support.md``. The exit code is 1
where the row ``newest`` of the Python that runs this script is ``failed``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.version import Version

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "support.md"
RESULT = ROOT / "evals" / "results" / "support.json"
MINORS = ("3.10", "3.11", "3.12", "3.13", "3.14")
ENDS = ("newest", "oldest")
PACKAGES = (
    "torch", "torchvision", "transformers", "faiss-cpu", "open-clip-torch", "numpy", "av",
    "pydantic", "typer",
)  # fmt: skip
TORCH = ("torch", "torchvision")
EXTRAS = ("clip",)  # what needs torch
LATE, PIP = "out of time", "pip: "
NO_TORCH = "torch not tried: no CPU wheel here"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"
CLIPS = """
import av, json, numpy
from pathlib import Path
time_s = numpy.arange(45) / 30
points = numpy.random.default_rng(0).normal(size=(1, 20, 3)) + numpy.zeros((45, 1, 1))
points[:, 11, 0] += numpy.sin(9 * time_s)
person = {"file_name": "a01_s01_e00_v01", "skeletons": points.tolist(), "label": 1}
Path("person.json").write_text(json.dumps(person))
for label, step in (("left", -3), ("right", 3)):
    Path("clips", label).mkdir(parents=True)
    for n in range(2):
        with av.open(f"clips/{label}/{n}.mp4", "w") as file:
            stream = file.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
            still = numpy.random.default_rng(n).integers(0, 255, (96, 96, 3), "uint8")
            for t in range(20):
                frame = av.VideoFrame.from_ndarray(numpy.roll(still, step * t, axis=1), "rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
"""
# A small SigLIP with random weights, in a folder as a hub holds it.
TOWER = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("models", sys.argv[1])
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)
pathlib.Path("siglip").mkdir()
models.save_siglip(pathlib.Path("siglip"))
"""
# No library of the extras came with the light core.
LIGHT = """
from importlib.util import find_spec
heavy = ("torch", "torchvision", "transformers", "peft", "accelerate", "open_clip", "scipy",
         "sentence_transformers", "sklearn", "tokenizers", "huggingface_hub", "onnx")
assert not any(map(find_spec, heavy)), [name for name in heavy if find_spec(name)]
"""
SERVED = """
import json, subprocess, sys, urllib.request
from pathlib import Path
command = [Path(sys.executable).with_name("vlar"), "serve", "made.vlar", "--port", "0"]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
    asked = json.dumps({"text": "left", "min_probability": 0}).encode()
    address = server.stdout.readline().strip() + "api/query"
    request = urllib.request.Request(address, asked, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        hits = json.load(answer)["hits"]
    server.terminate()
assert hits, "no hit"
"""
MODELS = ROOT / "tests" / "unit" / "encoders" / "clip" / "models.py"
WITHOUT_TORCH = (
    "--help",
    "classify --help",
    "check clips",
    "models get lite",
    "classify clips/left/0.mp4 --labels left,right",
    "adapt clips --out mine",
    "index add made.vlar clips",
    "query made.vlar left",
    "classify person.json --labels waving,sitting --model skeleton",
    "evaluate mine clips",
)
WITH_TORCH = (
    "classify clips/left/0.mp4 --labels left,right --model openclip:ViT-S-32-alt?random_init=true",
    "classify clips/left/0.mp4 --labels left,right --model hf:siglip",
)


class CommandError(Exception):
    """A command ended badly; its text is the first line that names the error."""


class Environment(NamedTuple):
    """A virtual environment, the folder of its clips, and when it has to be done."""

    folder: Path
    until: float

    def run(self, *command: str, name: str = "python") -> str:
        variables = {
            key: value
            for key, value in os.environ.items()
            if key not in ("PYTHONPATH", "VIRTUAL_ENV")
        } | {
            "HF_HUB_OFFLINE": "1",
            "VLAR_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        left = self.until - time.monotonic()
        try:
            done = subprocess.run(
                [self.folder / "bin" / name, *command], cwd=self.folder, env=variables, text=True,
                capture_output=True, timeout=max(left, 1), check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            raise CommandError(f"{PIP}{error}") from None
        except subprocess.TimeoutExpired:
            raise CommandError(LATE) from None
        if done.returncode:
            raise CommandError(error_line(done.stderr or done.stdout))
        return done.stdout

    def pip(self, *words: str) -> str:
        try:
            return self.run("-m", "pip", words[0], "-q", "--disable-pip-version-check", *words[1:])
        except CommandError as error:
            raise CommandError(f"{PIP}{error}") from None

    def wheels(self, package: str, *where: str) -> list[str]:
        """Versions with a wheel for this Python, newest first."""
        try:
            text = self.run(
                "-m", "pip", "index", "versions", "--only-binary", ":all:", *where, package
            )
        except CommandError:
            return []
        found = re.search(r"Available versions: (.*)", text)
        return found[1].split(", ") if found else []


def error_line(text: str) -> str:
    """The line of a program's output that names its error.

    >>> error_line("note\\nERROR: No matching distribution\\nmore")
    'ERROR: No matching distribution'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    named = [line for line in lines if re.match(r"error|\w*Error\b", line, re.I)]
    return (named or lines[-1:])[0][:200]


def requirements() -> dict[str, Requirement]:
    """Packages of the light core and of the extras that are tried, by name."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    rows = [*project["dependencies"]]
    for extra in EXTRAS:
        rows += project["optional-dependencies"][extra]
    return {row.name: row for row in map(Requirement, rows)}


def ranges() -> dict[str, str]:
    """The range of each package of the table."""
    return {name: str(row.specifier) for name, row in requirements().items() if name in PACKAGES}


def interpreters(given: list[str], minors: list[str]) -> dict[str, str]:
    """Pythons that run, by minor version: those that were given, then those of the path."""
    places = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep)]
    found: dict[str, str] = {}
    for program in (
        *given,
        *(str(place / f"python{minor}") for minor in minors for place in places),
    ):
        if not shutil.which(program):
            continue
        code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), program)
    return found


def chosen(env: Environment, end: str) -> dict[str, str]:
    """Versions to install. Torch is left out where this disk has no wheel of it."""
    versions: dict[str, str] = {}
    for name, row in requirements().items():
        if name not in PACKAGES or (name not in TORCH and end == "newest"):
            continue
        where = ("--no-index",) if name in TORCH else ()
        allowed = [v for v in env.wheels(name, *where) if row.specifier.contains(Version(v).public)]
        if allowed:
            versions[name] = allowed[0 if end == "newest" else -1]
    return versions


def tried(env: Environment, versions: dict[str, str], row: dict[str, Any]) -> None:
    """An installation and its commands; raises at the first that fails.

    Args:
        env: With nothing but pip.
        versions: Of packages, to be installed.
        row: Gets the size of the light core, ``light_mb``.
    """
    pins = env.folder / "constraints.txt"
    pinned = {"torch": "<0"} | {name: f"=={version}" for name, version in versions.items()}
    pins.write_text("".join(f"{name}{version}\n" for name, version in pinned.items()))
    env.pip("install", "-c", str(pins), str(ROOT))
    used = (path.lstat().st_blocks * 512 for path in env.folder.rglob("*"))
    row["light_mb"] = round(sum(used) / 2**20)
    env.run("-c", CLIPS)
    _answer(env, WITHOUT_TORCH)
    env.run("-c", LIGHT)
    # The agents' library needs newer ones than the oldest; the pins come back with what follows.
    only_torch = env.folder / "torch.txt"
    only_torch.write_text(f"torch{pinned['torch']}\n")
    env.pip("install", "--no-compile", "-c", str(only_torch), f"{ROOT}[serve]")
    env.run("-c", SERVED)
    if "torch" in versions:
        env.pip("install", "--no-compile", "-c", str(pins), f"{ROOT}[{','.join(EXTRAS)}]")
        env.run("-c", TOWER, str(MODELS))
        _answer(env, WITH_TORCH)


def _answer(env: Environment, steps: tuple[str, ...]) -> None:
    for step in steps:
        try:
            env.run(*step.split(), name="vlar")
        except CommandError as error:
            raise CommandError(f"vlar {step}: {error}") from None


def outcome_of(error: CommandError) -> str:
    """The kind of an error, and its text.

    >>> outcome_of(CommandError("vlar adapt clips: out of time"))
    'not finished: vlar adapt clips: out of time'
    """
    text = str(error)
    kind = "not installed" if text.startswith(PIP) else "failed"
    return f"{'not finished' if text.endswith(LATE) else kind}: {text}"


def row_of(minor: str, program: str, end: str, until: float) -> dict[str, Any]:
    """A new environment of one Python at one end of the ranges, tried and removed."""
    with tempfile.TemporaryDirectory(prefix="vlar-support-") as name:
        env = Environment(Path(name) / "env", until)
        row: dict[str, Any] = {"python": minor, "end": end}
        versions: dict[str, str] = {}
        installed: dict[str, str] = {}
        subprocess.run([program, "-m", "venv", env.folder], check=False, capture_output=True)
        try:
            env.pip("install", "--upgrade", "pip")
            versions = chosen(env, end)
            tried(env, versions, row)
            outcome = "passed"
        except CommandError as error:
            outcome = outcome_of(error).replace(name, "")
        late = env._replace(until=time.monotonic() + 60)
        with suppress(CommandError):
            listed = json.loads(late.run("-m", "pip", "list", "--format", "json"))
            installed = {row["name"].replace("_", "-"): row["version"] for row in listed}
    if "torch" not in versions:
        outcome = f"{NO_TORCH}; the rest {outcome}"
    found = {package: installed[package] for package in PACKAGES if package in installed}
    return {**row, "versions": found, "outcome": outcome}


def table(report: dict[str, Any]) -> str:
    """The rows as a table of the page."""
    lines = [
        f"| Python | packages | light core, MB | {' | '.join(PACKAGES)} | outcome |",
        f"|{'---|' * (len(PACKAGES) + 4)}",
        f"| | range | | {' | '.join(report['ranges'][name] for name in PACKAGES)} | |",
    ]
    for row in report["rows"]:
        found = (row["versions"].get(name, "-") for name in PACKAGES)
        cells = [str(row.get("light_mb", "-")), *found]
        lines.append(f"| {row['python']} | {row['end']} | {' | '.join(cells)} | {row['outcome']} |")
    return "\n".join(lines) + "\n"


def store(file: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the rows of the same Python and end, and the table of the page."""
    old = json.loads(file.read_text("utf-8"))["rows"] if file.exists() else []
    merged: dict[tuple[str, str], dict[str, Any]] = {
        (row["python"], row["end"]): row for row in (*old, *rows)
    }
    order = sorted(merged, key=lambda key: (MINORS.index(key[0]), ENDS.index(key[1])))
    report = {"ranges": ranges(), "rows": [merged[key] for key in order]}
    file.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(report)}\n{END}{rest.partition(END)[2]}", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--python", nargs="*", default=[], help="Pythons that are not on the path")
    mine = "{}.{}".format(*sys.version_info)
    parser.add_argument("--minors", nargs="*", default=[mine], help="default: this Python")
    parser.add_argument("--ends", nargs="*", default=ENDS, choices=ENDS)
    parser.add_argument("--minutes", type=float, default=60.0, help="rows that take longer fail")
    parser.add_argument("--out", type=Path, help=f"such as {RESULT.relative_to(ROOT)}")
    asked = parser.parse_args()
    until = time.monotonic() + 60 * asked.minutes
    programs = interpreters([*asked.python, sys.executable], asked.minors)
    rows: list[dict[str, Any]] = []
    for minor in sorted(asked.minors, key=lambda minor: minor != mine):  # this Python first
        for end in asked.ends:
            row: dict[str, Any] = {"python": minor, "end": end, "versions": {}}
            if minor not in programs:
                row["outcome"] = "skipped: no such Python here"
            elif time.monotonic() > until:
                row["outcome"] = "skipped: out of time"
            else:
                row = row_of(minor, programs[minor], end, until)
            print(json.dumps(row), flush=True)
            rows.append(row)
            if asked.out:
                store(asked.out, [row])
    needed = [row for row in rows if (row["python"], row["end"]) == (mine, "newest")]
    return int(any("failed: " in row["outcome"] for row in needed))


if __name__ == "__main__":
    sys.exit(main())
