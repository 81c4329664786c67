"""Drawings of rectangles, lines and texts as SVG and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#994f00", "#777777")
"""Colours that people who confuse red and green tell apart (Paul Tol, bright)."""
_SIZE = 11  # pixels of a letter's height


@dataclass(frozen=True)
class Shape:
    """A rectangle, a line, or a text.

    Attributes:
        kind: ``rect``, ``line`` or ``text``.
        x: Left, in pixels; of a text its anchor.
        y: Top; of a text its baseline.
        width: Pixels; of a line to the other end.
        height: Pixels; of a line to the other end.
        colour: As ``#rrggbb``.
        text: The text; of a rectangle what is shown when a pointer rests on it.
        right: Whether the text ends at ``x``.
        second: Seconds of a recording that the shape stands for; None for none.
        recording: Its recording.
    """

    kind: str
    x: float
    y: float
    width: float = 0.0
    height: float = 0.0
    colour: str = "#333333"
    text: str = ""
    right: bool = False
    second: float | None = None
    recording: str = ""


@dataclass
class Drawing:
    """Shapes on white.

    Attributes:
        width: Pixels.
        height: Pixels.
        shapes: In the order of drawing.
    """

    width: int
    height: int
    shapes: list[Shape] = field(default_factory=list[Shape])

    def axis(self, x: float, y: float, width: float, length_s: float) -> None:
        """Add an axis of seconds from 0 with a few marks."""
        self.shapes.append(Shape("line", x, y, width, 0))
        for second in marks(length_s):
            x_now = x + width * second / max(length_s, 1e-9)
            self.shapes.append(Shape("line", x_now, y, 0, 4))
            self.shapes.append(Shape("text", x_now, y + 16, text=f"{second:g} s"))

    def svg(self) -> str:
        """The drawing as an SVG document."""
        size = f'width="{self.width}" height="{self.height}"'
        box = f'viewBox="0 0 {self.width} {self.height}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} '
        lines = [
            f'{head}shape-rendering="crispEdges" font-family="sans-serif" font-size="{_SIZE}">'
        ]
        lines.append('<rect width="100%" height="100%" fill="#ffffff"/>')
        lines += [_element(shape) for shape in self.shapes]
        return "\n".join([*lines, "</svg>", ""])

    def write(self, file: Path) -> None:
        """Write the drawing as ``.svg`` or ``.png``."""
        if file.suffix.lower() == ".svg":
            file.write_text(self.svg(), "utf-8")
            return
        from PIL import Image, ImageDraw, ImageFont

        image = Image.new("RGB", (self.width, self.height), "white")
        draw = ImageDraw.Draw(image)
        font = ImageFont.load_default(_SIZE)
        for shape in self.shapes:
            end = (shape.x + shape.width, shape.y + shape.height)
            if shape.kind == "rect":
                start = round(shape.x), round(shape.y)
                corner = max(round(end[0]) - 1, start[0]), max(round(end[1]) - 1, start[1])
                draw.rectangle([start, corner], fill=shape.colour)
            elif shape.kind == "line":
                draw.line([(shape.x, shape.y), end], fill=shape.colour)
            else:
                anchor = "rs" if shape.right else "ls"
                draw.text((shape.x, shape.y), shape.text, shape.colour, font, anchor)
        image.save(file)


def _element(shape: Shape) -> str:
    box = f'x="{shape.x:.2f}" y="{shape.y:.2f}"'
    if shape.kind == "rect":
        size = f'width="{max(shape.width, 0.5):.2f}" height="{shape.height:.2f}"'
        second = ""
        if shape.second is not None:
            second = f' data-s="{shape.second:.3f}" data-r="{escape(shape.recording)}"'
        title = f"<title>{escape(shape.text)}</title>" if shape.text else ""
        return f'<rect {box} {size} fill="{shape.colour}"{second}>{title}</rect>'
    if shape.kind == "line":
        ends = f'x2="{shape.x + shape.width:.2f}" y2="{shape.y + shape.height:.2f}"'
        return f'<line x1="{shape.x:.2f}" y1="{shape.y:.2f}" {ends} stroke="{shape.colour}"/>'
    anchor = ' text-anchor="end"' if shape.right else ""
    return f'<text {box} fill="{shape.colour}"{anchor}>{escape(shape.text)}</text>'


def marks(length_s: float) -> Sequence[float]:
    """Round seconds from 0 to a length, five to ten of them.

    >>> marks(100)
    [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    """
    steps = (s * 10**e for e in range(-3, 8) for s in (1, 2, 5))
    step = next((s for s in steps if length_s / s <= 10), 10**8)
    return [round(i * step, 6) for i in range(int(length_s / step + 1e-9) + 1)]
