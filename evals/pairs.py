"""Two people in one picture: composites of real clips of one person, named among two-person labels.

    vlar models get lite-motion
    python evals/pairs.py --videos DIR [--json OUT]

No clip of the collection shows two people who do something to each other, so people of two clips
(weizmann, utd-mhad) are set side by side, one mirrored where they are to meet or to part, or held
still where one only stands. What needs a touch cannot be made this way; that is tried on drawn
figures (tests/unit/pose/test_attributes.py). Persons are split: one half was seen while the table
of verbs was written, the other half is reported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from harness import arguments, store
from PIL import Image

import vlar
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.media.video.decode import read_clip
from vlar.numeric import unit
from vlar.types import Clip, Window

N_FRAMES, HEIGHT = 32, 240
SINGLE = (
    "bending down",
    "doing jumping jacks",
    "galloping sideways",
    "jumping forward on two legs",
    "jumping in place",
    "running",
    "skipping (hopping forward on one leg)",
    "walking",
    "waving both hands",
    "waving one hand",
    "clapping hands",
    "throwing with the right arm",
)
PEOPLE = {
    "choose": (("daria", "ira"), ("ira", "shahar"), ("shahar", "daria")),
    "report": (("eli", "lyova"), ("lyova", "eli")),
}
TAKES = {
    "choose": (("s1_t1", "s3_t1"), ("s3_t2", "s1_t2"), ("s1_t2", "s3_t2")),
    "report": (("s2_t1", "s2_t2"), ("s2_t2", "s2_t1")),
}
Frames = np.ndarray
Change = Callable[[Frames], Frames]


def to_right(frames: Frames) -> Frames:
    """Mirrored where the person goes to the left."""
    place = _place(frames)
    quarter = len(place) // 4
    return frames if place[-quarter:].mean() > place[:quarter].mean() else frames[:, :, ::-1]


def to_left(frames: Frames) -> Frames:
    return to_right(frames)[:, :, ::-1]


def around(frames: Frames) -> Frames:
    """A little more than half of the picture, around the person."""
    width = frames.shape[2]
    half = int(0.29 * width)
    middle = int(np.clip(np.median(_place(frames)), half, width - half))
    return frames[:, :, middle - half : middle + half]


def standing(frames: Frames) -> Frames:
    """The first four pictures, to and fro: the person stands."""
    order = [0, 1, 2, 3, 2, 1]
    return around(frames[[order[at % len(order)] for at in range(len(frames))]])


def _place(frames: Frames) -> np.ndarray:
    """(T,) where across the picture something differs from the background."""
    differs = np.abs(frames.astype(int) - np.median(frames, axis=0)).sum(axis=-1) > 60
    across = differs.sum(axis=1)
    return (across * np.arange(frames.shape[2])).sum(axis=1) / np.maximum(across.sum(axis=1), 1)


# Label, clip of the one and how it is changed, clip of the other and how.
SCENES: tuple[tuple[str, str, Change, str, Change], ...] = (
    ("two people walk towards each other", "walk/{}_walk", to_right, "walk/{}_walk", to_left),
    ("two people walk apart", "walk/{}_walk", to_left, "walk/{}_walk", to_right),
    ("two people walk together", "walk/{}_walk", to_right, "walk/{}_walk", to_right),
    (
        "one person walks towards another person",
        "walk/{}_walk",
        to_right,
        "jump_in_place/{}_pjump",
        standing,
    ),
    (
        "one person walks away from another person",
        "walk/{}_walk",
        to_left,
        "wave_one_hand/{}_wave1",
        standing,
    ),
    ("two people run towards each other", "run/{}_run", to_right, "run/{}_run", to_left),
    (
        "two people wave at each other",
        "wave_one_hand/{}_wave1",
        around,
        "wave_one_hand/{}_wave1",
        around,
    ),
    (
        "one person waves at another person",
        "wave_one_hand/{}_wave1",
        around,
        "jump_in_place/{}_pjump",
        standing,
    ),
    ("two people bend down", "bend/{}_bend", around, "bend/{}_bend", around),
    (
        "two people do jumping jacks",
        "jumping_jack/{}_jack",
        around,
        "jumping_jack/{}_jack",
        around,
    ),
    (
        "one person throws a ball to the other",
        "throw_overhand/a5_{}_color",
        around,
        "clap/a4_{}_color",
        standing,
    ),
    ("two people clap", "clap/a4_{}_color", around, "clap/a4_{}_color", around),
)


def composites(videos: Path) -> Iterator[tuple[str, str, Frames, np.ndarray]]:
    """Label, half, frames and times of each composite, as it is and mirrored."""
    for label, first, change, second, change_too in SCENES:
        indoors = first.endswith("color")
        for half, pairs in (TAKES if indoors else PEOPLE).items():
            for pair in pairs:
                names = [path.format(who) for path, who in zip((first, second), pair, strict=True)]
                folder, ending = ("utd-mhad", "mp4") if indoors else ("weizmann", "avi")
                one, other = (_clip(videos / folder / f"{name}.{ending}") for name in names)
                frames = np.concatenate([change(one[0]), change_too(other[0])], axis=2)
                times = np.linspace(0, (one[1] + other[1]) / 2, N_FRAMES)
                for mirrored in (1, -1):
                    yield label, half, np.ascontiguousarray(frames[:, :, ::mirrored]), times


def _clip(path: Path) -> tuple[Frames, float]:
    clip = read_clip(path, None, N_FRAMES)
    width = round(clip.data.shape[2] * HEIGHT / clip.data.shape[1])
    resized = [
        np.asarray(Image.fromarray(frame).resize((width, HEIGHT), Image.Resampling.BILINEAR))
        for frame in clip.data
    ]
    return np.stack(resized), float(clip.times_s[-1] - clip.times_s[0])


def _as_clip(frames: np.ndarray, times_s: np.ndarray) -> Clip:
    return Clip(Path("composite"), Window(0.0, float(times_s[-1])), "video", frames, times_s)


def main() -> None:
    options = arguments(
        __doc__, "json", videos={"type": Path, "required": True, "help": "folder with the clips"}
    )
    encoder = vlar.load("lite").encoder
    assert isinstance(encoder, LiteEncoder)
    if len(encoder.blocks) < 2:
        sys.exit("lite-motion is not there; run: vlar models get lite-motion")
    rows = [
        (label, half, encoder.encode([_as_clip(frames, times)])[0].vector)
        for label, half, frames, times in composites(options.videos)
    ]
    found = list(_figures(encoder, rows))
    for row in found:
        print(row)
    store(options.json, {"fingerprint": encoder.fingerprint, "figures": found})


def _figures(
    encoder: LiteEncoder, rows: list[tuple[str, str, np.ndarray]]
) -> Iterator[dict[str, object]]:
    two = sorted({label for label, _, _ in rows})
    truth, halves = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    video = np.stack([row[2] for row in rows])
    motion = slice(encoder.blocks[0].width, encoder.blocks[0].width + encoder.blocks[1].width)
    for name, labels in (("two-person", two), ("two-person and single", [*two, *SINGLE])):
        text = encoder.encode_text(labels)
        scores = {
            "motion": video[:, motion] @ unit(text[:, motion]).T,
            "both": video @ text.T,
        }
        for half in ("choose", "report"):
            here = halves == half
            for how, score in scores.items():
                best = np.array(labels)[score[here].argmax(axis=1)]
                yield {
                    "labels": name,
                    "n_labels": len(labels),
                    "half": half,
                    "n": int(here.sum()),
                    "how": how,
                    "right": int((best == truth[here]).sum()),
                    "named_two_people": int(np.isin(best, two).sum()),
                }


if __name__ == "__main__":
    main()
