"""Encoders that see a clip as a whole, read frames at a rate, and know two roles of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.videos import make_video
from vlar.adapters.base import Adapter
from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess
from vlar.errors import ModelError, UsageError
from vlar.library.library import Library
from vlar.media.video.decode import read_windows
from vlar.model.model import Model
from vlar.numeric import unit
from vlar.registry import get
from vlar.types import Clip, Encoded, Float32, Role, Sampling, Window

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class Colours(Encoder):
    """The mean colour of a clip; a query names the colour that stands behind its word."""

    name = fingerprint = "colours-of-whole-clips"
    per_clip = two_roles = True
    dim = frame_dim = 3
    n_frames = 4
    fps, max_frames = 2.0, 6
    logit_scale = 20.0
    max_tokens = 64
    preprocess = Preprocess(32, 32, (0.5,) * 3, (0.5,) * 3)
    blocks = (Block("joint", 3, 1.0, has_text=True),)
    frame_blocks = (FrameBlock("clip", 3, "clip"),)

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.questions: list[Role] = []

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        self.seen += [len(clip.data) for clip in clips]
        rows = [unit(clip.data.reshape(-1, 3).mean(axis=0).astype(np.float32)) for clip in clips]
        return [Encoded(row[None], row) for row in rows]

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        self.questions.append(role)
        turn = 1 if role == "query" else 0
        named = [next((v for k, v in COLOURS.items() if k in text), (1, 1, 1)) for text in texts]
        return unit(np.roll(np.array(named, np.float32).reshape(-1, 3), turn, axis=1))

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


def painted(path: Path, name: str, frames: int = 40) -> Path:
    picture = np.full((64, 96, 3), np.array(COLOURS[name]) * 200 + 20, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    return make_video(path, frames, fps=10, picture=lambda _: picture)


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painted")
    for name in ("red", "green"):
        for number in range(3):
            painted(folder / name / f"{number}.mp4", name, 20 + 10 * number)
    return folder


def test_frames_follow_the_length_of_a_clip():
    wanted = Sampling(8, fps=2.0, max_frames=6)
    assert [wanted.frames_in(s) for s in (0.0, 0.4, 1.0, 2.2, 3.0, 60.0)] == [1, 1, 2, 4, 6, 6]
    assert Sampling(8).frames_in(60.0) == 8


def test_windows_of_several_lengths_have_their_own_number_of_frames(tmp_path: Path):
    video = make_video(tmp_path / "a.mp4", 60, fps=10)
    spans = [Window(0, 1), Window(0, 3), Window(0.5, 6), Window(2, 2.2)]
    wanted = Sampling(8, fps=2.0, max_frames=6)
    found = list(read_windows(video, spans, wanted))
    assert [len(c.data) for c in found if isinstance(c, Clip)] == [2, 6, 6, 1]
    for clip in found:
        assert isinstance(clip, Clip)
        (alone,) = read_windows(video, [clip.window], len(clip.data))
        assert isinstance(alone, Clip)
        np.testing.assert_array_equal(clip.data, alone.data)


def test_a_library_keeps_the_rate_and_asks_queries(tmp_path: Path):
    videos = [painted(tmp_path / f"{name}.mp4", name) for name in COLOURS]
    encoder = Colours()
    with Library(tmp_path / "l.vlar", Model(encoder)) as library:
        library.add(videos, window_s=2.0, stride_s=2.0)
        assert encoder.seen == [4] * 6  # 2 s at 2 frames a second
        # The query space is turned by one colour: red asks for green.
        assert Path(library.query("red", 1)[0].path).stem == "green"
    encoder = Colours()
    with Library(tmp_path / "l.vlar", Model(encoder)) as library:
        library.add(painted(tmp_path / "later.mp4", "red", 100), stride_s=2.0)
        assert set(encoder.seen) == {4}
        like = library.query(f'LIKE "{tmp_path / "blue.mp4"}"', 1)
        assert Path(like[0].path).stem == "blue"
        assert encoder.seen[-1] == 6  # the whole file: 4 s, at most 6 frames
    assert set(encoder.questions) <= {"query"}


def test_labels_are_asked_as_labels(tmp_path: Path):
    model = Model(Colours())
    answer = model.classify(painted(tmp_path / "a.mp4", "green"), ["red", "green", "blue"])
    assert answer.predictions[0].label == "green"


def test_few_examples_of_whole_clips(support: Path, tmp_path: Path):
    model = Model(Colours()).adapt(support)
    assert model.report.choice is not None
    assert {row.kind for row in model.report.choice.candidates} == {"clip"}
    assert model.classify(painted(tmp_path / "a.mp4", "green")).label == "green"


@pytest.mark.parametrize("method", ["otam", "bi-mhm", "mean", "tuple"])
def test_what_compares_frames_refuses_by_name(method: str, support: Path):
    with pytest.raises(UsageError, match=f"'{method}' compares the frames") as caught:
        Model(Colours()).adapt(support, method=method)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["temporal", "lora", "tc-clip", "ez-clip", "froster"])
def test_adapters_of_frames_refuse_by_name(name: str):
    part: type[Adapter] = get("adapter", name)
    with pytest.raises(ModelError, match=f"adapter '{name}' .*'colours-of-whole-clips'") as caught:
        part.attach(Colours())
    assert "\n" not in str(caught.value)
