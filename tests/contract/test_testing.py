"""``vlar.testing`` finds what breaks a contract, and runs for a package of somebody else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlar
import vlar.testing
from tests.contract.test_second_sensor import RATE, SineEncoder, SineReader
from tests.known_parts import known
from vlar import registry
from vlar.encoders.base import Encoder
from vlar.errors import UnknownNameError
from vlar.evaluation.corruptions.base import Corruption
from vlar.heads.fewshot.closed_forms import RidgeHead
from vlar.heads.reject import Familiarity
from vlar.testing.contract import run
from vlar.training.hyperparameters import Hyperparameters


@pytest.fixture
def _sine():
    with known(("reader", "sine", SineReader)):
        yield


def broken(kind: str, part: Any, says: str, **example: Any) -> None:
    """The check of a kind refuses a part in one sentence."""
    with pytest.raises(AssertionError, match=says) as caught:
        vlar.testing.check(kind, part, **example)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{kind} '")
    assert text.endswith(".")


class Whole(SineEncoder):
    """The encoder of a sine, each text alone and cut; it is loaded as any without settings."""

    from_spec = classmethod(Encoder.from_spec.__func__)

    def encode_text(self, texts, role="label"):
        texts = [" ".join(text.split()[: self.max_tokens - 2]) for text in texts]
        rows = [super(Whole, self).encode_text([text]) for text in texts]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *rows])


class TooLong(Whole):
    def encode(self, clips):
        return [vlar_row(row, 2 * row.vector) for row in super().encode(clips)]


class NotANumber(Whole):
    def encode(self, clips):
        return [vlar_row(row, np.nan * row.vector) for row in super().encode(clips)]


class ByBatch(Whole):
    def encode(self, clips):
        rows = super().encode(clips)
        turned = [np.roll(row.vector, len(clips) - 1) for row in rows]
        return [vlar_row(row, vector) for row, vector in zip(rows, turned, strict=True)]


def vlar_row(row, vector):
    return type(row)(row.features, vector.astype(np.float32))


@pytest.mark.usefixtures("_sine")
def test_an_encoder_without_a_fault_passes_and_others_are_refused(tmp_path: Path):
    time_s = np.arange(4 * RATE) / RATE
    rising = {"recording": tmp_path / "rising.npy"}
    np.save(rising["recording"], np.sin(6 * time_s**2).astype(np.float32))
    vlar.testing.check_encoder(Whole, **rising)
    vlar.testing.check_encoder(Whole(), **rising)
    broken("encoder", TooLong, r"length 1.*\(lengths from 2 to 2\)", **rising)
    broken("encoder", NotANumber, r"length 1.*NaN", **rising)
    broken("encoder", ByBatch, "same alone and in a batch", **rising)
    broken("encoder", type("Unlicensed", (Whole,), {"licence": "unknown"}), "licence", **rising)


class NoNumbers(RidgeHead):
    def logits(self, signatures, zero_shot=None):
        return np.nan * super().logits(signatures, zero_shot)


class LogitsByBatch(RidgeHead):
    def logits(self, signatures, zero_shot=None):
        logits = super().logits(signatures, zero_shot)
        return logits - logits.mean(axis=0)


class Forgetful(RidgeHead):
    def state(self):
        return {key: 0 * array for key, array in super().state().items()}


def test_heads_with_faults_are_refused():
    vlar.testing.check_fewshot(RidgeHead)
    broken("fewshot", NoNumbers, "NaN")
    broken("fewshot", LogitsByBatch, "alone and in a batch|recognised")
    broken("fewshot", Forgetful, "saved")
    assert registry.get("fewshot", "ridge") is RidgeHead


class ReadsPast(SineReader):
    def read_clip(self, path, window, sampling):
        end_s = self.probe(path).duration_s
        if window is not None and window.start_s > end_s:
            window = type(window)(0.0, end_s)
        return super().read_clip(path, window, sampling)


class Gaps(SineReader):
    def _signal(self, path):
        return np.nan * super()._signal(path)


class Silent(SineReader):
    def example(self, folder):
        return super(SineReader, self).example(folder)


class Counts(SineReader):
    calls = 0

    def read_clip(self, path, window, sampling):
        clip = super().read_clip(path, window, sampling)
        type(self).calls += 1
        return type(clip)(
            clip.path, clip.window, clip.modality, clip.data + type(self).calls, clip.times_s
        )


@pytest.mark.usefixtures("_sine")
def test_readers_with_faults_are_refused(tmp_path: Path):
    vlar.testing.check_reader(SineReader)
    broken("reader", ReadsPast, "past the end")
    broken("reader", Gaps, "NaN")
    broken("reader", Counts, "read as each alone")
    broken("reader", Silent, r"Reader\.example.*recording=PATH")
    recording = SineReader().example(tmp_path)
    vlar.testing.check_reader(Silent, recording=recording)


class Growing(Familiarity):
    def score(self, signatures, logits=None):
        return super().score(signatures, logits) + len(signatures)


class Chance(Corruption):
    """Noise that no seed gives again."""

    family, levels = "noise", (1, 2, 3, 4, 5)

    def apply(self, frames, level, random):
        noise = np.random.default_rng().integers(-9, 9, frames.shape)
        return np.clip(frames + noise, 0, 255).astype(np.uint8)


def late() -> dict[str, Any]:
    """A recipe that is none."""
    return {"adapt": Hyperparameters(epochs=20, batch=8, learning_rate=1e-2), "b": None}


def test_other_kinds_with_faults_are_refused():
    broken("rejector", Growing, "alone and in a batch")
    broken("corruption", Chance, "same seed")
    broken("recipe", late, "hyperparameters")


def test_every_kind_has_a_check():
    assert {f"check_{kind}" for kind in vlar.parts()} | {"check"} == set(vlar.testing.__all__)
    for name in vlar.testing.__all__:
        assert "AssertionError:" in (getattr(vlar.testing, name).__doc__ or ""), name
    with pytest.raises(UnknownNameError, match="did you mean 'encoder'"):
        vlar.testing.check("encodr", "lite")
    with pytest.raises(AttributeError, match="check_nothing"):
        _ = vlar.testing.check_nothing  # type: ignore[attr-defined]


def test_what_cannot_be_tried_is_skipped_and_not_passed():
    with pytest.raises(unittest.SkipTest, match="cannot be loaded offline; give the check"):
        vlar.testing.check_encoder("hf")


def test_any_error_of_a_step_is_an_assertion_of_one_sentence():
    def step(part: list[int]) -> None:
        """Lists have a first number, since the second is counted from it.

        More words.
        """
        assert part[0] + 1

    run("list", "full", [step], [1])
    with pytest.raises(AssertionError) as caught:
        run("list", "empty", [step], [])
    expected = "list 'empty': Lists have a first number, since the second is counted from it "
    assert str(caught.value) == expected + "(IndexError: list index out of range)."


def test_nothing_of_pytest_is_needed_and_the_package_does_not_import_it():
    script = (
        "import sys, vlar, vlar.apps.cli\n"
        "assert not [name for name in sys.modules if name.startswith('vlar.testing')]\n"
        "sys.modules['pytest'] = None\n"
        "import vlar.testing\n"
        "vlar.testing.check_fewshot('prototype')\n"
        "print([name for name in ('torch', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
    package = Path(vlar.__file__).parent
    users = [
        path
        for path in package.rglob("*.py")
        if package / "testing" not in path.parents
        and re.search(r"^\s*(from|import) vlar\.testing", path.read_text("utf-8"), re.M)
    ]
    assert not users


PACKAGE = '''"""A head of ten lines in a package of its own: the nearest example."""
from vlar.heads.fewshot.matcher import Matcher


class Nearest(Matcher):
    """The evidence for a label is the mean of the frames' cosines in step."""

    name = "nearest-in-step"

    def similarity(self, a, b):
        return (a[:, None] * b[None]).sum(axis=3).mean(axis=2)
'''


def test_a_package_of_ten_lines_is_checked_by_the_name_of_its_entry_point(tmp_path: Path):
    """What ``pip install`` of it leaves, in a folder on the path."""
    (tmp_path / "nearest.py").write_text(PACKAGE)
    facts = tmp_path / "nearest-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: nearest\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[vlar.fewshot]\nnearest-in-step = nearest:Nearest\n")
    script = (
        "import vlar, vlar.testing\n"
        "vlar.testing.check('fewshot', 'nearest-in-step')\n"
        "vlar.testing.check_fewshot(vlar.parts('fewshot')['nearest-in-step'])\n"
        "print(vlar.registry.get('fewshot', 'nearest-in-step').__module__)"
    )
    places = [str(tmp_path), str(Path(vlar.__file__).parents[1])]
    path = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (done.stdout.strip(), done.returncode) == ("nearest", 0), done.stderr
