"""Hits that show one person: their box is drawn where they are, and their number is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.library.fakes import tiny_video
from vlar.apps.answers import answers_page, contact_sheet, pictures, shown_s
from vlar.apps.cli import output
from vlar.types import Failure, Hit

BOX = (0.5, 0.25, 1.0, 1.0)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return tiny_video(tmp_path / "v.mp4", 3)


def hit(video: Path, **whom: object) -> Hit:
    return Hit(1, str(video), 0.0, 8.0, 0.5, 0.5, 0.2, **whom)  # type: ignore[arg-type]


def test_the_box_is_drawn_in_the_picture_of_its_moment(video: Path):
    shown = hit(video, track=2, box=BOX, box_s=1.5)
    assert (shown_s(shown), shown_s(hit(video))) == (1.5, 4.0)
    drawn, plain = (next(pictures([each])) for each in (shown, hit(video, box_s=1.5)))
    assert isinstance(drawn, Image.Image)
    assert isinstance(plain, Image.Image)
    changed = np.any(np.asarray(drawn) != np.asarray(plain), axis=2)
    rows, columns = np.nonzero(changed)
    width, height = drawn.size
    assert columns.min() == pytest.approx(BOX[0] * width, abs=2)
    assert rows.min() == pytest.approx(BOX[1] * height, abs=2)
    assert columns.max() == width - 1
    inside = changed[int(0.6 * height) : int(0.7 * height), int(0.7 * width) : int(0.8 * width)]
    assert not inside.any()


@pytest.mark.parametrize("box", [(0.2, 0.2, 0.2, 0.2), (0.0, 0.0, 1.0, 1.0), (0.999, 0, 1, 0.01)])
def test_any_box_can_be_drawn(video: Path, box: tuple[float, float, float, float]):
    assert not isinstance(next(pictures([hit(video, track=1, box=box, box_s=0.0)])), Failure)


def test_the_person_is_named(video: Path, capsys: pytest.CaptureFixture[str]):
    shown = hit(video, track=2, box=BOX, box_s=1.5)
    (picture,) = pictures([shown])
    assert "person 2" in answers_page("a cat", [shown], [picture])
    assert "person 2" not in answers_page("a cat", [hit(video)], [picture])
    assert contact_sheet([shown], [picture]).size[0] > 300
    output.hit(shown)
    assert "person 2" in capsys.readouterr().out
