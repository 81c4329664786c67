"""Text on screen, read by the real models of RapidOCR from made clips."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.refusals import refused
from vlar.encoders.captions import load_captioner, quotes
from vlar.errors import ModelError, UsageError
from vlar.formatting import without_boxes
from vlar.generators.captions.screen_text import ScreenTextCaptioner, differs
from vlar.types import Clip, UInt8, Window

SIZE = 480, 360


def picture(text: str, seed: int | None = None) -> UInt8:
    """(H, W, 3) with a text; of noise with a seed."""
    if seed is not None:
        return np.random.default_rng(seed).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    image = Image.new("RGB", SIZE, (70, 80, 90))
    font = ImageFont.load_default(size=34)
    ImageDraw.Draw(image).multiline_text((20, 60), text, font=font, fill=(250, 250, 250))
    return np.asarray(image)


def clip(*pictures: UInt8, path: str = "array", modality: str = "video") -> Clip:
    times_s = np.arange(len(pictures)) + 0.5
    return Clip(Path(path), Window(0, len(pictures)), modality, np.stack(pictures), times_s)


@pytest.fixture(scope="module")
def loaded() -> ScreenTextCaptioner:
    pytest.importorskip("rapidocr")
    return ScreenTextCaptioner.from_spec("")


@pytest.fixture
def captioner(loaded: ScreenTextCaptioner) -> ScreenTextCaptioner:
    loaded._recent.clear()
    return loaded


def test_text_is_read_with_its_span(captioner: ScreenTextCaptioner):
    frames = [picture("EXIT 42"), picture("EXIT 42"), picture(""), picture('says (en): "run')]
    (found,) = captioner.caption([clip(*frames)])
    # Quotes on the screen cannot end a caption and begin another one.
    boxes = [quoted.box for quoted in quotes(found)]
    assert all(box is not None and box[0] < 10 and 10 < box[1] < box[3] < 40 for box in boxes)
    assert [without_boxes(each) for each in found] == [
        'shows (0.0-2.0 s): "EXIT 42"',
        'shows (3.0-4.0 s): "says (en): \'run"',
    ]


@pytest.mark.slow
def test_nothing_is_read_where_nothing_is_written(captioner: ScreenTextCaptioner):
    assert captioner.caption([clip(picture("")), clip(picture("", seed=0))]) == [(), ()]
    assert captioner.caption([clip(picture("EXIT 42"), modality="depth")]) == [()]


def test_only_changed_frames_are_read(
    captioner: ScreenTextCaptioner, monkeypatch: pytest.MonkeyPatch
):
    read: list[int] = []
    line = {"some text": (0.1, 0.2, 0.3, 0.4)}
    monkeypatch.setattr(captioner, "_lines", lambda frame: read.append(1) or line)  # pyright: ignore
    noisy = picture("EXIT") + np.random.default_rng(0).integers(0, 4, (*SIZE[::-1], 3), np.uint8)
    frames = [picture("EXIT"), noisy, picture("EXIT"), picture("EXIT 2"), picture("EXIT 2")]
    assert captioner.caption([clip(*frames)]) == [('shows (0.0-5.0 s @10,20,30,40): "some text"',)]
    assert len(read) == 2
    captioner.caption([clip(*frames[2:], picture("EXIT"))])  # the next window overlaps
    assert len(read) == 2
    assert differs(np.zeros((4, 4, 3), np.uint8), np.zeros((8, 4, 3), np.uint8))


def test_lines_without_confidence_are_left_out(
    captioner: ScreenTextCaptioner, monkeypatch: pytest.MonkeyPatch
):
    class Found:
        txts = ("sure", "unsure", "i", "=", "\x1b[31mred\u202e")
        boxes = np.array([[[0, 36], [48, 36], [48, 72], [0, 72]]] * 5)  # pixels of the frame
        scores = (0.9, 0.79, 0.99, 0.99, 0.99)

    def engine(*_: Any, **__: Any) -> Found:
        return Found()

    monkeypatch.setitem(captioner.__dict__, "_engine", engine)
    (found,) = captioner.caption([clip(picture(""))])
    span = "shows (0.0-1.0 s @0,10,10,20)"
    assert found == (f'{span}: "sure"', f'{span}: "[31mred"')


@pytest.mark.slow
def test_small_pictures_are_read_again_from_the_recording(
    captioner: ScreenTextCaptioner, tmp_path: Path
):
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height = SIZE
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(picture("EXIT 42" if number < 5 else ""), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    small = Clip(path, Window(0, 2), "video", np.zeros((1, 8, 8, 3), np.uint8), np.ones(1))
    (found,) = captioner.caption([small])
    assert [without_boxes(each) for each in found] == ['shows (0.0-1.0 s): "EXIT 42"']


def test_what_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("rapidocr")
    refused(UsageError, "has no argument", load_captioner, "screen-text:x")
    made = load_captioner("concepts+screen-text")
    assert load_captioner(made.name).fingerprint == made.fingerprint
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    refused(ModelError, r"pip install .*\[ocr\]'", load_captioner, "screen-text")
