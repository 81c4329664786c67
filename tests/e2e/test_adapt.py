"""``vlar adapt`` through the real command: examples, pairs of verbs and objects, unseen labels."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import videos
from tests.e2e.conftest import run_vlar
from vlar.media.skeleton import layouts


def moving_bar(direction: int):
    """Frames of a bar that moves left or right over a grey ground, once around in 21 frames."""
    import numpy as np

    def draw(index: int):
        picture = np.full((64, 96, 3), 90, np.uint8)
        left = (20 + direction * 4 * index) % 84
        picture[20:50, left : left + 12] = (230, 210, 60)
        return picture

    return draw


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory, demo_clips: dict[str, Path]) -> Path:
    return examples(tmp_path_factory.mktemp("support") / "support.csv", demo_clips)


@pytest.fixture(scope="module")
def few_frames(tmp_path_factory: pytest.TempPathFactory, sparse_clips: dict[str, Path]) -> Path:
    """The same examples, seen faster, where it does not matter what is learned."""
    return examples(tmp_path_factory.mktemp("support") / "sparse.csv", sparse_clips)


def examples(table: Path, clips: dict[str, Path]) -> Path:
    """Windows of the clips (two labels) as a CSV with times."""
    rows = [
        *[(clips["bikes"], "street", start, start + 2) for start in (0, 3, 6)],
        *[(clips["carphone_pristine"], "phone call", start, start + 1) for start in (0, 1, 2)],
    ]
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "start_s", "end_s"])
        writer.writerows(rows)
    return table


@pytest.fixture(scope="module")
def adapted(vlar_command, support: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "mine"
    done = vlar_command("adapt", support, "--out", out, "--json")
    assert done.code == 0
    (report,) = done.rows
    assert report["examples"] == {"phone call": 3, "street": 3}
    assert report["chosen"]["head"] in {"prototype", "cache", "ridge"}
    return out


@pytest.fixture(scope="module")
def adapted_from_few(
    vlar_command, few_frames: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A model of few frames, and what the command printed."""
    out = tmp_path_factory.mktemp("models") / "few"
    done = vlar_command("adapt", few_frames, "--out", out)
    assert done.code == 0
    return out, done.out


def test_an_adapted_model_is_a_folder_without_the_encoder(adapted: Path):
    assert sorted(path.name for path in adapted.iterdir()) == [
        "adaptation.safetensors",
        "card.md",
        "statistics.safetensors",
        "vlar.json",
    ]
    manifest = json.loads((adapted / "vlar.json").read_text())
    assert manifest["format"] == 3
    assert manifest["labels"] == ["phone call", "street"]
    card = (adapted / "card.md").read_text()
    assert card.startswith(f"# {adapted.name}\n")
    assert "| phone call | 3 |" in card
    assert manifest["encoder"]["spec"] == "lite"
    assert (adapted / "adaptation.safetensors").stat().st_size < 1_000_000


def test_it_classifies_with_its_own_labels(vlar_command, adapted: Path, demo_clips):
    clips = [demo_clips["bikes"], demo_clips["carphone_pristine"]]
    done = vlar_command("classify", *clips, "--model", adapted, "--json")
    assert done.code == 0
    best = [row["predictions"][0]["label"] for row in done.rows]
    assert best == ["street", "phone call"]
    assert [row["unknown"] for row in done.rows] == [False, False]
    for row in done.rows:
        total = sum(p["probability"] for p in row["predictions"]) + row["unknown_probability"]
        assert total == pytest.approx(1, abs=1e-4)


def test_a_blank_clip_is_unknown_to_it(vlar_command, adapted: Path, tmp_path: Path):
    blank = videos.make_blank_video(tmp_path / "blank.mp4")
    done = vlar_command("classify", blank, "--model", adapted, "--json")
    assert done.rows[0]["unknown"]


def test_labels_it_never_saw_are_refused(vlar_command, adapted: Path, sparse_clips):
    clip = sparse_clips["bikes"]
    done = vlar_command("classify", clip, "--model", adapted, "--labels", "street, cooking")
    assert done.code == 2
    assert "cooking" in done.advice
    done = vlar_command("classify", clip, "--model", adapted, "--labels", "street", "--json")
    assert [p["label"] for p in done.rows[0]["predictions"]] == ["street"]


def test_python_gives_what_the_folder_gives(
    adapted_from_few: tuple[Path, str], few_frames: Path, sparse_clips: dict[str, Path]
):
    import vlar

    clip = sparse_clips["carphone_pristine"]
    from_folder = vlar.load(adapted_from_few[0]).classify(clip)
    fresh = vlar.load().adapt(few_frames).classify(clip)
    assert from_folder.predictions == fresh.predictions
    assert from_folder.unknown_probability == fresh.unknown_probability


@pytest.mark.slow
def test_motion_alone_is_learned(vlar_command, tmp_path: Path):
    # Both labels show the same pictures, in opposite order: nothing else tells them apart.
    orders = {"left": range(21), "right": range(20, -1, -1)}

    def write(path: Path, order: range, begin: int) -> Path:
        draw = moving_bar(-1)
        return videos.make_video(path, 21, picture=lambda index: draw(order[index] + begin))

    for label, order in orders.items():
        folder = tmp_path / "support" / label
        folder.mkdir(parents=True)
        for i in range(4):
            write(folder / f"{i}.mp4", order, 5 * i)
    done = vlar_command("adapt", tmp_path / "support", "--out", tmp_path / "m", "--json")
    assert done.code == 0
    clips = [write(tmp_path / f"{label}.mp4", order, 33) for label, order in orders.items()]
    done = vlar_command("classify", *clips, "--model", tmp_path / "m", "--json")
    assert [row["predictions"][0]["label"] for row in done.rows] == list(orders)


def test_a_broken_example_is_named_and_left_out(vlar_command, tmp_path: Path, sparse_clips):
    for label, clip in (("street", "bikes"), ("rabbit", "bigbuckbunny")):
        folder = tmp_path / "support" / label
        folder.mkdir(parents=True)
        (folder / "fine.mp4").symlink_to(sparse_clips[clip])
    broken = tmp_path / "support" / "street" / "broken.mp4"
    broken.write_bytes(b"not a video")
    done = vlar_command("adapt", tmp_path / "support", "--out", tmp_path / "m", "--json")
    assert done.code == 1
    assert str(broken) in done.advice
    assert done.rows[0]["examples"] == {"rabbit": 1, "street": 1}


def test_an_existing_model_is_not_overwritten(
    vlar_command, adapted: Path, few_frames: Path, tmp_path: Path
):
    before = (adapted / "vlar.json").read_bytes()
    done = vlar_command("adapt", few_frames, "--out", adapted)
    assert done.code == 2
    assert "--force" in done.advice
    assert (adapted / "vlar.json").read_bytes() == before
    copy = shutil.copytree(adapted, tmp_path / "copy")
    assert vlar_command("adapt", few_frames, "--out", copy, "--shots", 1, "--force").code == 0
    assert (copy / "vlar.json").read_bytes() != before


def test_shots_and_method(vlar_command, few_frames: Path, tmp_path: Path):
    for method in ("prototype", "cache", "ridge"):
        out = tmp_path / method
        done = vlar_command(
            "adapt", few_frames, "--out", out, "--shots", 1, "--method", method, "--json"
        )
        assert done.code == 0
        assert done.rows[0]["examples"] == {"phone call": 1, "street": 1}
        assert done.rows[0]["chosen"]["head"] == method
    done = vlar_command("adapt", few_frames, "--out", tmp_path / "x", "--method", "ridg")
    assert done.code == 2
    assert "did you mean 'ridge'" in done.advice


def test_damaged_model_folders_are_refused(
    vlar_command, adapted: Path, tmp_path: Path, sparse_clips
):
    def broken_copy(name: str, change) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for path in adapted.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        change(folder)
        return folder

    def newer(folder: Path):
        data = json.loads((folder / "vlar.json").read_text())
        (folder / "vlar.json").write_text(json.dumps({**data, "format": 99}))

    def other_encoder(folder: Path):
        data = json.loads((folder / "vlar.json").read_text())
        data["encoder"]["fingerprint"] = "0" * 64
        (folder / "vlar.json").write_text(json.dumps(data))

    cases = {
        "newer": (newer, "update vlar"),
        "other": (other_encoder, "adapt again"),
        "cut": (lambda f: (f / "adaptation.safetensors").write_bytes(b"abc"), "adapt again"),
        "gone": (lambda f: (f / "adaptation.safetensors").unlink(), "adapt again"),
        "text": (lambda f: (f / "vlar.json").write_text("{"), "adapt again"),
    }
    for name, (change, advice) in cases.items():
        folder = broken_copy(name, change)
        done = vlar_command("classify", sparse_clips["bikes"], "--model", folder)
        assert done.code == 2
        assert advice in done.advice
        assert str(folder) in done.advice or name in ("cut",)
    done = vlar_command("classify", sparse_clips["bikes"], "--model", tmp_path)
    assert done.code == 2
    assert "vlar adapt" in done.advice


def test_the_text_is_one_sentence_and_the_table_is_for_those_who_ask(
    vlar_command, adapted_from_few: tuple[Path, str], few_frames: Path, tmp_path: Path
):
    learned, saved = adapted_from_few[1].splitlines()
    assert learned.startswith("learned 2 labels from 6 examples")
    assert saved.startswith("saved to ")
    done = vlar_command("adapt", few_frames, "--out", tmp_path / "b", "--verbose")
    assert "ridge" in done.out
    assert len(done.out.splitlines()) > 10


@pytest.mark.slow
def test_settings_of_the_command_line_and_a_model_that_is_adapted_again(
    vlar_command, few_frames: Path, tmp_path: Path
):
    asked = ("adapt", few_frames, "--method", "temporal", "--set", "epochs=2")
    asked += ("--set", "warmup_epochs=0", "--set", "width=16", "--set", "components=4")
    done = vlar_command(*asked, "--out", tmp_path / "one", "--json")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "one" / "vlar.json").read_text())
    assert manifest["adapter"]["settings"]["width"] == 16
    assert manifest["report"]["training"]["steps"] == 2
    again = ("--model", tmp_path / "one", "--out", tmp_path / "two", "--learner", "trained")
    done = vlar_command(*asked, *again)
    assert done.code == 0, done.err
    assert "had learned from 6 of them before" in done.out
    assert "recognised" not in done.out
    assert json.loads((tmp_path / "two" / "vlar.json").read_text())["inner"]
    bikes = few_frames.read_text().splitlines()[1].split(",")[0]
    assert vlar_command("classify", bikes, "--model", tmp_path / "two").code == 0
    for wrong, says in (
        (("--set", "epochs"), "is not NAME=VALUE"),
        (("--set", "widht=8"), "did you mean 'width'"),
        (("--learner", "traind"), "did you mean 'trained'"),
    ):
        done = vlar_command(*asked, *wrong, "--out", tmp_path / "three")
        assert done.code == 2
        assert says in done.advice


@pytest.mark.slow
def test_several_labels_a_clip_and_any_labels_afterwards(
    vlar_command, tmp_path: Path, demo_clips: dict[str, Path]
):
    table = tmp_path / "several.csv"
    bikes, phone = demo_clips["bikes"], demo_clips["carphone_pristine"]
    rows = [f"{bikes},street|bicycle,{s},{s + 2}" for s in (0, 3, 6)]
    rows += [f"{phone},phone call,{s},{s + 1}" for s in (0, 1, 2)]
    table.write_text("\n".join(["path,labels,start_s,end_s", *rows, ""]))
    done = vlar_command("adapt", table, "--out", tmp_path / "ridge", "--method", "ridge")
    assert done.code == 2
    assert "give each clip one label" in done.advice
    done = vlar_command("adapt", table, "--out", tmp_path / "mine", "--method", "msq", "--json")
    assert done.code == 0, done.err
    (report,) = done.rows
    assert report["recordings"] == 6
    assert report["examples"] == {"bicycle": 3, "phone call": 3, "street": 3}
    ask = ("classify", bikes, "--model", tmp_path / "mine", "--mode", "multi", "--json")
    (own,) = vlar_command(*ask).rows
    assert {p["label"] for p in own["predictions"]} == {"street", "bicycle", "phone call"}
    (asked,) = vlar_command(*ask, "--labels", "bicycle, a sleeping cat").rows
    probability = [
        next(p["probability"] for p in answer["predictions"] if p["label"] == "bicycle")
        for answer in (own, asked)
    ]
    assert probability[0] == pytest.approx(probability[1], abs=1e-5)


PAIRS = [("open", "door"), ("open", "box"), ("close", "door"), ("close", "box")]

UNSEEN = ("close", "box")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Doors are grey and boxes are striped; opening grows brighter, closing darker."""
    place, rows = tmp_path_factory.mktemp("compositions"), ["path,verb,object"]
    (place / "clips").mkdir()
    for verb, noun in PAIRS:
        for turn in range(3):

            def picture(number: int, verb=verb, noun=noun, turn=turn) -> np.ndarray:
                level = 60 + 30 * (number if verb == "open" else 3 - number) + 4 * turn
                shown = np.full((64, 96, 3), level, np.uint8)
                if noun == "box":
                    shown[:, ::8] = 255 - level
                return shown

            name = f"clips/{verb}_{noun}_{turn}.mp4"
            videos.make_video(place / name, 4, picture=picture)
            if (verb, noun) != UNSEEN:
                rows.append(f"{name},{verb},{noun}")
    (place / "pairs.csv").write_text("\n".join(rows))
    (place / "verbs.txt").write_text("open\nclose\n")
    (place / "objects.txt").write_text("door\nbox\n")
    (place / "verbs_only.csv").write_text("path,verb\nclips/open_door_0.mp4,open\nx.mp4,close\n")
    return place


def test_every_verb_with_every_object_on_any_model(vlar_command, place: Path):
    clip = place / "clips" / "open_door_0.mp4"
    done = vlar_command(
        "classify", clip, "--pairs", place / "verbs.txt", place / "objects.txt", "--json"
    )
    assert done.code == 0, done.err
    (row,) = done.rows
    assert {p["label"] for p in row["predictions"]} == {f"{verb} {noun}" for verb, noun in PAIRS}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--pairs", "open", "box", "--labels", "run"), "--labels and --pairs exclude each other"),
        (("--pairs", "open", "missing.txt"), "'missing.txt' does not exist"),
    ],
)
def test_lists_that_cannot_be_pairs(vlar_command, place: Path, arguments, reason: str):
    done = vlar_command("classify", place / "clips" / "open_door_0.mp4", *arguments)
    assert done.code == 2
    assert reason in done.advice


def test_verbs_without_objects_are_refused(vlar_command, place: Path):
    done = vlar_command(
        "adapt", place / "verbs_only.csv", "--method", "c2c", "--out", place / "none"
    )
    assert done.code == 2
    assert "have no 'object'; give a CSV with the columns path,verb,object" in done.advice
    assert not (place / "none").exists()


@pytest.mark.slow
def test_pairs_are_learned_saved_asked_and_searched(vlar_command, place: Path):
    done = vlar_command(
        "adapt", place / "pairs.csv", "--method", "c2c", "--out", place / "m", "--json"
    )
    assert done.code == 0, done.err
    assert done.rows[-1]["training"]["method"] == "c2c"
    manifest = json.loads((place / "m" / "vlar.json").read_text())
    assert manifest["adapter"]["settings"]["verbs"] == ["close", "open"]
    clip = place / "clips" / "close_box_0.mp4"
    (row,) = vlar_command("classify", clip, "--model", place / "m", "--json").rows
    assert "close box" in {p["label"] for p in row["predictions"]}
    named = vlar_command(
        "classify", clip, "--model", place / "m", "--pairs", "open, hide", "box, cup", "--json"
    )
    assert {p["label"] for p in named.rows[0]["predictions"]} == {
        "open box", "open cup", "hide box", "hide cup"
    }  # fmt: skip
    wrong = vlar_command("classify", clip, "--model", place / "m", "--labels", "dance, open box")
    assert wrong.code == 2
    assert "'dance' is not a pair of them" in wrong.advice
    added = vlar_command("index", "add", place / "l.vlar", place / "clips", "--model", place / "m")
    assert added.code == 0, added.err
    found = vlar_command("query", place / "l.vlar", "[verb=close object=box]", "-k", "3", "--json")
    assert found.code == 0, found.err
    assert all(0 <= hit["probability"] <= 1 for hit in found.rows)
    assert found.rows


JOINTS = layouts.layout("kinect20").joints


HEIGHTS = {
    "pelvis": 0.95, "spine": 1.1, "chest": 1.4, "head": 1.65, "shoulder": 1.4, "elbow": 1.1,
    "wrist": 0.9, "hand": 0.8, "hip": 0.93, "knee": 0.5, "ankle": 0.1, "foot": 0.03,
}  # fmt: skip


MOVING = {
    "wave": ("right_elbow", "right_wrist", "right_hand"),
    "kick": ("right_knee", "right_foot"),
    "nod": ("head",),
}


def recording(path: Path, moving: tuple[str, ...], seed: int) -> Path:
    """Two seconds of a body of which some joints go up and down."""
    random = np.random.default_rng(seed)
    points = np.zeros((60, len(JOINTS), 3), np.float32)
    for at, name in enumerate(JOINTS):
        side = -1 if name.startswith("left_") else 1
        width = 0.0 if name in ("pelvis", "spine", "chest", "head") else 0.2
        points[:, at] = (side * width, HEIGHTS[name.split("_")[-1]], 2.5)
        if name in moving:
            points[:, at, 1] += 0.3 + 0.3 * np.sin(np.linspace(0, 12, 60) + seed)
    points += random.normal(scale=0.004, size=points.shape).astype(np.float32)
    facts = {"layout": "kinect20", "unit": "m", "rate_hz": 30.0}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, facts=np.array(json.dumps(facts)), points=points[:, None])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("method", ["aligned", "parts"])
def test_labels_with_and_without_examples(tmp_path: Path, method: str):
    for label, joints in MOVING.items():
        for number in range(2):
            recording(tmp_path / "skeletons" / label / f"{number}.npz", joints, number)
    made = run_vlar(
        "adapt", tmp_path / "skeletons", "--model", "skeleton", "--method", method, "--out",
        tmp_path / "mine",
    )  # fmt: skip
    assert made.code == 0, made.err
    new = recording(tmp_path / "new.npz", MOVING["kick"], 5)
    own = run_vlar("classify", new, "--model", tmp_path / "mine", "--json")
    assert own.rows[0]["predictions"][0]["label"] == "kick"
    wider = run_vlar(
        "classify", new, "--model", tmp_path / "mine", "--labels", "wave, kick, squat", "--json"
    )
    assert wider.code == 0, wider.err
    assert {row["label"] for row in wider.rows[0]["predictions"]} == {"wave", "kick", "squat"}


GATED = """
method = "aligned"
model = "skeleton"
train = "{folder}"
out = "{out}"
[adapter]
gate = "always"
own = 0.5
"""


MORE = {
    "clap": ("left_wrist", "right_wrist", "left_hand", "right_hand"),
    "bow": ("head", "chest", "left_shoulder", "right_shoulder"),
    "step": ("left_ankle", "left_foot", "left_knee"),
}


@pytest.mark.slow
def test_a_gate_is_saved_and_answers_mixed_lists(tmp_path: Path):
    for label, joints in (MOVING | MORE).items():
        for number in range(4):
            recording(tmp_path / "skeletons" / label / f"{number}.npz", joints, number)
    made, config = tmp_path / "mine", tmp_path / "gate.toml"
    config.write_text(GATED.format(folder=tmp_path / "skeletons", out=made))
    trained = run_vlar("train", config)
    assert trained.code == 0, trained.err
    settings = json.loads((made / "vlar.json").read_text())["adapter"]["settings"]
    assert len(settings["gate_numbers"]) == 5
    new = recording(tmp_path / "new.npz", MOVING["kick"], 5)
    lists = ("wave, kick, bow, squat", "squat, bow, kick, wave")
    found = [
        run_vlar("classify", new, "--model", made, "--labels", labels, "--top", "4", "--json")
        for labels in lists
    ]
    assert [run.code for run in found] == [0, 0], found[0].err
    first, other = (
        {row["label"]: row["probability"] for row in run.rows[0]["predictions"]} for run in found
    )
    assert first == pytest.approx(other)
    seen = {label: share for label, share in first.items() if label != "squat"}
    assert max(seen, key=lambda label: seen[label]) == "kick"
