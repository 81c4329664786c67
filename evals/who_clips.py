"""Two people who do something to each other: is the left or the right one judged, and as what?

    vlar models get lite-motion
    python evals/who_clips.py --clips DIR [--cache DIR] [--json OUT]

The clips of UT-Interaction: hugging, kicking, pointing, punching, pushing, shaking hands; the six
names are the label list. Each clip is judged as a whole and with ``--who`` "the person on the left"
and "the person on the right". Both people share the label of the clip, so the other person is not a
wrong answer here; the controls are a reference to nobody (``person 3`` must be an error where two
are found), and the labels of the clips exchanged at random. ``--pictures DIR`` writes the middle
frame of each clip with both boxes.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from people_kept import KeptDetector, KeptVectors

import vlar
from vlar.errors import PersonError
from vlar.media.lookup import reader
from vlar.people.focus import Found, make_focus
from vlar.types import Encoded, Window

PEOPLE = "the person on the left", "the person on the right"


def main() -> int:
    options = _options()
    model = vlar.load(options.model)
    with (options.clips / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"].startswith("UT-Inter")]
    labels = sorted({row["readable_label"] for row in rows})
    vectors, found = KeptVectors(model, options.cache), []
    for row in rows:
        found.append(_judged(model, vectors, options, options.clips / row["path"], labels))
        found[-1] = {"label": row["readable_label"], **found[-1]}
        print(json.dumps(found[-1]), flush=True)
    summary = _summary(found)
    print(json.dumps(summary))
    if options.json:
        data = {"command": "python evals/who_clips.py --clips DIR", "model": model.name}
        text = json.dumps({**data, "summary": summary, "clips": found}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--cache", type=Path, help="folder that keeps boxes and vectors")
    parser.add_argument("--pictures", type=Path, help="folder for pictures with boxes")
    parser.add_argument("--json", type=Path, help="file for the results")
    return parser.parse_args()


def _judged(model, vectors: KeptVectors, options, path: Path, labels: list[str]) -> dict:
    """Labels of the whole picture and of each of two people."""
    source = reader("video")
    window = Window(0.0, source.probe(path).duration_s)
    clip = source.read_clip(path, window, model.sampling)
    classifier = model.classifier(labels)

    def named(cut) -> list[str]:
        encoded = Encoded(np.zeros((0, 1), np.float32), vectors.of([cut])[0])
        order = classifier.scores([encoded]).probability[0].argsort()[::-1]
        return [classifier.labels[place] for place in order]

    row: dict = {"path": path.name, "whole": named(clip)}
    places = []
    for who, side in zip(PEOPLE, ("left", "right"), strict=True):
        person = _found(options, who, clip, source)
        row[side] = named(person.cut) if person.cut is not None else None
        row["notes"] = list(person.notes)
        if person.person:
            row["people"] = person.person.of
            places.append(person.person.box)
    row["apart"] = len(places) == 2 and places[0] != places[1]
    try:
        _found(options, "person 3", clip, source)
        row["person 3"] = "somebody"
    except PersonError:
        row["person 3"] = "refused"
    if options.pictures:
        _draw(clip.data[len(clip.data) // 2], places, options.pictures / f"{path.stem}.png")
    return row


def _found(options: argparse.Namespace, who: str, clip, source) -> Found:
    """Person that ``--who`` finds, with boxes that are kept."""
    focus = make_focus(who=who)
    assert focus is not None
    kept = KeptDetector(focus.detector, options.cache)
    moving = focus.moving and KeptDetector(focus.moving, options.cache)
    return replace(focus, detector=kept, moving=moving).find(clip, source)


def _draw(frame: np.ndarray, boxes: list, file: Path) -> None:
    from PIL import Image, ImageDraw

    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    for box, colour in zip(boxes, ("#ff3030", "#3060ff"), strict=False):
        corners = [side * length for side, length in zip(box, picture.size * 2, strict=True)]
        draw.rectangle(corners, outline=colour, width=4)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)


def _summary(rows: list[dict]) -> dict:
    """Shares of clips, and of clips whose labels are exchanged, in percent."""
    mixed = np.random.default_rng(0).permutation([row["label"] for row in rows])
    found: dict[str, object] = {"clips": len(rows)}
    for way in ("whole", "left", "right"):
        given = [(row[way] or row["whole"])[0] for row in rows]
        for name, truth in (("", [row["label"] for row in rows]), (", labels exchanged", mixed)):
            right = [one == other for one, other in zip(given, truth, strict=True)]
            found[f"{way} first{name}"] = round(100 * float(np.mean(right)), 1)
    found["two people found"] = round(
        100 * float(np.mean([row.get("people") == 2 for row in rows]))
    )
    found["left and right apart"] = round(100 * float(np.mean([row["apart"] for row in rows])))
    found["person 3 refused"] = round(
        100 * float(np.mean([row["person 3"] == "refused" for row in rows]))
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
