"""Pictures in a terminal: only where it is sure to show them, and whole in each protocol."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from vlar.apps.cli.query import ITERM, KITTY, SIXEL, encoded, protocol, wanted
from vlar.errors import UsageError


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.zeros((13, 40, 3), np.uint8)
    pixels[:, 20:] = (200, 60, 20)
    pixels[7:, :10] = np.random.default_rng(0).integers(0, 255, (6, 10, 3))
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"TERM": "xterm-kitty"}, KITTY),
        ({"TERM_PROGRAM": "iTerm.app"}, ITERM),
        ({"TERM_PROGRAM": "WezTerm", "TERM": "xterm-256color"}, ITERM),
        ({"TERM": "foot"}, SIXEL),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({}, None),
    ],
)
def test_the_environment_decides(environment: dict[str, str], kind: str | None):
    assert protocol(environment) == kind


def test_never_into_a_file(capsys):
    assert wanted(None) is None
    assert wanted(False) is None
    with pytest.raises(UsageError, match="--sheet"):
        wanted(True)


def test_kitty_and_iterm_carry_the_png(picture: Image.Image):
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", "".join(encoded(picture, KITTY)))
    assert parts[0][0].startswith("a=T,f=100")
    assert parts[-1][0].endswith("m=0")
    kitty = base64.b64decode("".join(data for _, data in parts))
    (iterm,) = re.findall(
        r"\x1b\]1337;File=inline=1;size=\d+:(.*)\a", "".join(encoded(picture, ITERM))
    )
    for data in (kitty, base64.b64decode(iterm)):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(picture))


def test_sixel_draws_the_picture(picture: Image.Image):
    text = "".join(encoded(picture, SIXEL))
    assert text.startswith('\x1bPq"1;1;40;13')
    assert text.endswith("\x1b\\")
    drawn = np.zeros((18, 40, 3))
    body = text[len('\x1bPq"1;1;40;13') : -2]
    colours: dict[int, tuple[int, ...]] = {}
    top = x = current = 0
    for token in re.findall(r"#\d+;2;\d+;\d+;\d+|#\d+|!\d+[?-~]|[?-~$-]", body):
        if match := re.fullmatch(r"#(\d+);2;(\d+);(\d+);(\d+)", token):
            colours[int(match[1])] = tuple(int(v) for v in match.groups()[1:])
        elif token[0] == "#":
            current = int(token[1:])
        elif token in "$-":
            x, top = 0, top + 6 * (token == "-")
        else:
            count = int(token[1:-1]) if token[0] == "!" else 1
            for bit in range(6):
                if (ord(token[-1]) - 63) >> bit & 1:
                    drawn[top + bit, x : x + count] = colours[current]
            x += count
    assert np.abs(drawn[:13] * 2.55 - np.asarray(picture)).max() < 40
