"""Tiny data sets in the layouts of the real ones: files of a few hundred bytes, real lists' form.

Every maker returns the data set's folder. ``SKIP`` names recordings that are listed and not made.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from tests import event_files, skeletons, videos

SIZE = (48, 32)


def make_clip(path: Path, seed: int, n_frames: int = 8) -> Path:
    """A moving square whose colour and way depend on the seed: no two files are equal."""
    random = np.random.default_rng(seed)
    ground, square = random.integers(0, 256, (2, 3))
    speed = random.integers(1, 4)

    def picture(number: int) -> np.ndarray:
        frame = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
        frame[:] = ground
        left = int(speed * number) % (SIZE[0] - 10)
        frame[8:20, left : left + 10] = square
        return frame

    path.parent.mkdir(parents=True, exist_ok=True)
    coded = path if path.suffix else path.with_suffix(".mp4")
    return videos.make_video(coded, n_frames, fps=8, size=SIZE, codec="mpeg4", picture=picture)


def _write(file: Path, lines: Sequence[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", "utf-8")


def ucf101(
    root: Path, labels: Sequence[str] = ("ApplyLipstick", "Archery", "BabyCrawling"),
    groups: int = 3, clips: int = 2, skip: Collection[str] = (),
) -> Path:  # fmt: skip
    """Group 1 is the test of split 1, group 2 that of split 2, and so on."""
    lists = root / "ucfTrainTestlist"
    _write(lists / "classInd.txt", [f"{n} {label}" for n, label in enumerate(labels, 1)])
    names = {
        group: [
            (n, f"{label}/v_{label}_g{group:02d}_c{clip:02d}.avi")
            for n, label in enumerate(labels, 1)
            for clip in range(1, clips + 1)
        ]
        for group in range(1, groups + 1)
    }
    for split in (1, 2, 3):
        test = names.get(split, [])
        train = [row for group, rows in names.items() if group != split for row in rows]
        _write(lists / f"testlist{split:02d}.txt", [name for _, name in test])
        _write(lists / f"trainlist{split:02d}.txt", [f"{name} {n}" for n, name in train])
    for group, rows in names.items():
        for n, name in rows:
            if name not in skip:
                make_clip(root / "UCF-101" / name, 100 * n + 10 * group + int(name[-5]))
    return root


def hmdb51(root: Path, labels: Sequence[str] = ("brush_hair", "cartwheel"), films: int = 4) -> Path:
    """Film 0 is the test of split 1; the last film is in neither subset."""
    for label in labels:
        names = [f"Film{n}_{label}_u_cm_np1_ba_med_{n}.avi" for n in range(films)]
        for split in (1, 2, 3):
            use = [2 if n == split - 1 else 0 if n == films - 1 else 1 for n in range(films)]
            lines = [f"{name} {u} " for name, u in zip(names, use, strict=True)]
            _write(root / "testTrainMulti_7030_splits" / f"{label}_test_split{split}.txt", lines)
        for n, name in enumerate(names):
            make_clip(root / "hmdb51_org" / label / name, labels.index(label) * 50 + n)
    return root


def kinetics(
    root: Path, labels: Sequence[str] = ("abseiling", "air drumming"), n: int = 2,
    subsets: Sequence[str] = ("train", "val"),
) -> Path:  # fmt: skip
    for subset in subsets:
        lines = ["label,youtube_id,time_start,time_end,split"]
        for at, label in enumerate(labels):
            for number in range(n):
                name = f"{subset[0]}{at}-_{number}abc"
                lines.append(f"{label},{name},{10 + number},{20 + number},{subset}")
                cut = f"{name}_{10 + number:06d}_{20 + number:06d}.mp4"
                seed = 1000 * subsets.index(subset) + 10 * at + number
                make_clip(root / subset / label / cut, seed)
        _write(root / "annotations" / f"{subset}.csv", lines)
    return root


TEMPLATES = ("Holding [something]", "Pushing [something] off [something]")


def ssv2(root: Path, templates: Sequence[str] = TEMPLATES) -> Path:
    labels = [t.replace("[", "").replace("]", "") for t in templates]
    (root / "labels").mkdir(parents=True)
    (root / "labels" / "labels.json").write_text(
        json.dumps({label: str(n) for n, label in enumerate(labels)})
    )
    for subset, first in (("train", 1), ("validation", 100)):
        rows = [
            {"id": str(first + n), "label": "x", "template": t, "placeholders": ["a cup"]}
            for n, t in enumerate([*templates, *templates])
        ]
        (root / "labels" / f"{subset}.json").write_text(json.dumps(rows))
        for row in rows:
            make_clip(root / "20bn-something-something-v2" / f"{row['id']}.mp4", int(row["id"]))
    return root


def sth_com(root: Path) -> Path:
    """Two verbs by three objects; the pair (Closing, cup) is in test alone."""
    root.mkdir(parents=True, exist_ok=True)
    verbs, nouns = ["Opening [something]", "Closing [something]"], ["box", "cup", "door"]
    pairs = [(v, n) for v in verbs for n in nouns]
    number = 0
    for subset, chosen in (("train", pairs[:4]), ("val", pairs[3:5]), ("test", pairs[3:])):
        rows = []
        for verb, noun in chosen * 2:
            number += 1
            rows.append({"id": str(number), "action": "x", "verb": verb, "object": noun})
            make_clip(root / "videos" / f"{number}.mp4", number)
        (root / f"{subset}_pairs.json").write_text(json.dumps(rows))
    return root


def charades(root: Path) -> Path:
    _write(root / "Charades_v1_classes.txt", ["c000 Holding clothes", "c001 Putting a cup down"])
    rows = {
        "train": [("AAAA1", "S1", "c000 0.00 0.60"), ("AAAA2", "S2", "c001 0.1 0.9;c000 0.0 1.0")],
        "test": [("BBBB1", "S3", "c001 0.00 0.50;c000 0.40 0.90"), ("BBBB2", "S4", "c000 0.1 0.9"),
                 ("BBBB3", "S4", "")],
    }  # fmt: skip
    for subset, listed in rows.items():
        with (root / f"Charades_v1_{subset}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["id", "subject", "scene", "actions", "length"])
            writer.writerows(
                [(name, who, "Kitchen, big", acts, "1.0") for name, who, acts in listed]
            )
        for n, (name, _, _) in enumerate(listed):
            make_clip(root / "Charades_v1_480" / f"{name}.mp4", 10 * (subset == "test") + n)
    return root


def epic(root: Path) -> Path:
    columns = (
        "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"
    )
    folder = root / "annotations"
    _write(
        folder / "EPIC_100_verb_classes.csv",
        ["id,key,instances,category", "0,take,x,y", "1,put,x,y"],
    )
    _write(
        folder / "EPIC_100_noun_classes.csv",
        ["id,key,instances,category", "0,tap,x,y", "1,cup,x,y"],
    )
    for subset, person in (("train", "P01"), ("validation", "P02")):
        lines = [columns] + [
            f"{person}_01_{n},{person},{person}_01,00:00:00.{n}0,00:00:00.{n + 4}0,{n % 2},{n // 2}"
            for n in range(4)
        ]
        _write(folder / f"EPIC_100_{subset}.csv", lines)
        make_clip(root / person / "videos" / f"{person}_01.MP4", 7 + (person == "P02"), 8)
    return root


def lists(root: Path, labels: Sequence[str] = ("fall", "no fall"), n: int = 3) -> Path:
    _write(root / "labels.txt", list(labels))
    for subset in ("train", "test"):
        rows = []
        for at in range(len(labels)):
            for number in range(n):
                name = f"{subset}_{at}_{number}"
                rows.append(f"{subset}/{name} 8 {at}")
                seed = 500 * (subset == "test") + 20 * at + number
                make_clip(root / "videos" / subset / f"{name}.mp4", seed)
        _write(root / f"{subset}.csv", rows)
    return root


def folder(root: Path, labels: Sequence[str] = ("clap", "run", "wave"), n: int = 3) -> Path:
    """``train`` and ``test`` with n clips a label each."""
    for subset in ("train", "test"):
        for at, label in enumerate(labels):
            for number in range(n):
                seed = 700 * (subset == "test") + 30 * at + number
                make_clip(root / subset / label / f"{number}.mp4", seed)
    return root


def dailydvs200(
    root: Path, people: dict[str, Sequence[int]] | None = None, classes: int = 2
) -> Path:
    """Recordings of subjects of each list; their content is AEDAT 3.1, which needs no library."""
    _write(
        root / "action_description.csv",
        [
            "id,action,description",
            *(
                f'{n},{("walk", "clap hands", "jump")[n]},"Someone, {n}, moves."'
                for n in range(classes)
            ),
        ],
    )
    for name, listed in (people or {"train": (1, 2), "val": (3,), "test": (4, 7)}).items():
        rows = [f"C{n}P{p}M0S1_2023{p}{n}.aedat4" for p in listed for n in range(classes)]
        _write(root / f"{name}.txt", [f"{name}/{row} {n % classes}" for n, row in enumerate(rows)])
        for seed, row in enumerate(rows):
            events = event_files.made(300, seed=seed + 50 * len(name), size=(120, 120))
            (root / "aedat4").mkdir(exist_ok=True)
            (root / "aedat4" / row).write_bytes(event_files.aedat3(events))
    return root


def ntu(root: Path, actions: Sequence[int] = (1, 2)) -> Path:
    """Skeletons of NTU RGB+D: four subjects, two setups and three cameras for each action."""
    folder = root / "nturgb+d_skeletons"
    folder.mkdir(parents=True)
    for action in actions:
        for number, subject in enumerate((1, 3, 4, 6)):
            setup, camera = 1 + number % 2, 1 + number % 3
            name = f"S{setup:03}C{camera:03}P{subject:03}R001A{action:03}.skeleton"
            skeletons.write_ntu(folder / name, 6 + number)
    return root


MAKERS = {
    "dailydvs200": dailydvs200,
    "ucf101": ucf101, "hmdb51": hmdb51, "kinetics": kinetics, "ssv2": ssv2, "sth-com": sth_com,
    "charades": charades, "epic-kitchens": epic, "lists": lists, "folder": folder,
}  # fmt: skip
