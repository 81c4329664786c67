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

from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import Namespace, arguments, echo, manifest, store
from people_kept import KeptDetector, KeptVectors

import vlar
from vlar.errors import PersonError
from vlar.media.lookup import reader
from vlar.people.focus import Found, make_focus
from vlar.types import Encoded, Window

PEOPLE = "the person on the left", "the person on the right"


def main() -> None:
    options = arguments(
        __doc__, "model", "json",
        clips={"type": Path, "required": True, "help": "folder with manifest.csv"},
        cache=(Path, "folder that keeps boxes and vectors"),
        pictures=(Path, "folder for pictures with boxes"),
    )  # fmt: skip
    model = vlar.load(options.model)
    rows = [row for row in manifest(options.clips) if row["dataset"].startswith("UT-Inter")]
    labels = sorted({row["readable_label"] for row in rows})
    vectors, found = KeptVectors(model, options.cache), []
    for row in rows:
        found.append(_judged(model, vectors, options, options.clips / row["path"], labels))
        found[-1] = {"label": row["readable_label"], **found[-1]}
        echo(found[-1])
    summary = _summary(found)
    echo(summary)
    data = {"command": "python evals/who_clips.py --clips DIR", "model": model.name}
    store(options.json, {**data, "summary": summary, "clips": found})


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


def _found(options: Namespace, who: str, clip, source) -> Found:
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
    main()
