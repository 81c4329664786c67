"""Text on screen: captions drawn into real clips, read by ``screen-text``.

    python evals/screen_words.py --data shared/clips [--clips 20] [--json OUT]

A caption of three words is drawn with an outline into every frame of the first two seconds, in
three heights (share of the picture's height), and the clip is encoded again (MPEG-4). Recall: the
query ``shows "CAPTION"`` finds the clip. Errors: edit distance over the length of the caption, in
signs and in words; lines that the clip shows by itself do not count. Controls: the same clips
without a caption, and noise; every line that is read there is printed. Nothing is tuned.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
from harness import arguments, store
from PIL import Image, ImageDraw, ImageFont

from vlar.encoders.captions import load_captioner
from vlar.library.query.caption_search import quoted_in
from vlar.media.lookup import reader
from vlar.types import Clip, Sampling, Window

HEIGHTS = (0.05, 0.08, 0.12)
FPS = 10
WORDS = (
    *("door", "window", "kitchen", "Monday", "station", "bridge", "yellow", "ticket", "number"),
    *("morning", "Garden", "exit", "river", "quiet", "market", "2026", "platform", "closed"),
    *("welcome", "please", "battery", "warning", "lesson", "chapter", "north"),
)


def write(path: Path, pictures: np.ndarray, text: str, height: float) -> Path:
    """Write pictures (T, H, W, 3) with a text at the lower edge."""
    size = round(height * pictures.shape[1])
    font = ImageFont.load_default(size=size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width = (side // 2 * 2 for side in pictures.shape[1:3])
        stream.bit_rate = 2_000_000
        for picture in pictures:
            image = Image.fromarray(picture).crop((0, 0, stream.width, stream.height))
            if text:
                fits = font.getlength(text) < 0.9 * stream.width
                lines = text if fits else text.replace(" ", "\n")
                high = size * 1.3 * (lines.count("\n") + 1)
                place = round(0.05 * stream.width), round(0.97 * stream.height - high)
                ImageDraw.Draw(image).multiline_text(
                    place, lines, fill="white", font=font, stroke_width=1, stroke_fill="black"
                )
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    return path


def distance(found: Any, wanted: Any) -> int:
    """Least number of insertions, deletions and replacements (Levenshtein)."""
    row = list(range(len(wanted) + 1))
    for i, one in enumerate(found, 1):
        before, row = row, [i]
        for j, other in enumerate(wanted, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (one != other)))
    return row[-1]


def lines_of(captions: tuple[str, ...]) -> list[str]:
    """The texts between the quotes."""
    return [caption.partition('"')[2][:-1] for caption in captions]


def main() -> None:
    options = arguments(__doc__, "data", "json", clips=20)
    captioner, draw = load_captioner("screen-text"), random.Random(0)
    recordings = sorted({path.parent: path for path in options.data.rglob("*.mp4")}.values())
    chosen = recordings[:: max(1, len(recordings) // options.clips)][: options.clips]
    found = {height: {"recall": 0, "signs": 0, "words": 0} for height in HEIGHTS}
    length = {"signs": 0, "words": 0}
    alone, seconds, frames = [], 0.0, 0
    with tempfile.TemporaryDirectory() as folder:

        def read(pictures: np.ndarray, text: str, height: float) -> tuple[str, ...]:
            nonlocal seconds, frames
            path = write(Path(folder) / "clip.mp4", pictures, text, height)
            window, small = Window(0, len(pictures) / FPS), np.zeros((1, 2, 2, 3), np.uint8)
            begin = time.process_time()
            (captions,) = captioner.caption([Clip(path, window, "video", small, np.zeros(1))])
            seconds, frames = seconds + time.process_time() - begin, frames + 2
            return captions

        for path in chosen:
            span = Window(0, min(2.0, reader("video").probe(path).duration_s))
            pictures = reader("video").read_clip(path, span, Sampling(2 * FPS)).data
            own = lines_of(read(pictures, "", 0.1))
            alone += [(path.name, line) for line in own]
            caption = " ".join(draw.sample(WORDS, 3))
            length["signs"] += len(caption)
            length["words"] += 3
            for height in HEIGHTS:
                captions = read(pictures, caption, height)
                text = " ".join(line for line in lines_of(captions) if line not in own)
                found[height]["recall"] += bool(
                    quoted_in("shows", caption, {0: " ".join(captions)})
                )
                found[height]["signs"] += distance(text, caption)
                found[height]["words"] += distance(text.split(), caption.split())
        noise = np.random.default_rng(0).integers(0, 256, (8, 20, 240, 320, 3), dtype=np.uint8)
        of_noise = [line for pictures in noise for line in lines_of(read(pictures, "", 0.1))]
    rows = {
        f"{height:.0%}": {
            "recall": f"{row['recall']} of {len(chosen)}",
            "sign_errors": round(row["signs"] / length["signs"], 3),
            "word_errors": round(row["words"] / length["words"], 3),
        }
        for height, row in found.items()
    }
    result = {
        "clips": len(chosen), "heights": rows, "read_without_caption": alone,
        "read_in_noise": of_noise, "cpu_s_a_frame": round(seconds / frames, 2),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    store(options.json, result)


if __name__ == "__main__":
    main()
