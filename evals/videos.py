"""Networks of videos and of several sensors, against what they are said to beat, people apart.

    python evals/videos.py QUESTION --shared DIR [--seeds 5] [--first 0] [--json FILE]

DIR holds ``videos``, ``clips`` and ``modalities``, each with a ``manifest.csv``. Every row is kept
in ``--json`` and is not measured again, so a run may be stopped and go on. Questions:

``masked``   VideoMAE V2 (small, its layout) pre-trained on 0, 100 or 500 clips without labels of
             ``videos`` and ``clips``, all by ``--steps``; a linear probe (ridge on its features)
             is asked five actions of UTD-MHAD in colour, one of six people left out. Controls:
             pixels of each clip permuted within a frame; labels of the probe shuffled
``bodies``   EPAM-Net and Gate-Shift-Pose on the same takes in colour and joints, two people left
             out: the network of pictures alone, with joints, and with the joints of another action,
             in training and test (``exchanged``) or in the test alone (``other``); ``auto`` is the
             closed form of ``vlar adapt`` on the same joints
``forward``  R(2+1)D, I3D and filters of single frames (``frames``) on clips played forward and
             backward, every fifth person or film left out; ``i3d:11`` has eleven channels for
             eight, and the operations of ``r2plus1d``. The clips that teach are asked too, by the
             running statistics of the norms and by those of batches of eight. ``--moved`` changes
             each weight of the start by such a share of itself. Control: labels shuffled

All networks start from random weights, so all have the same pixels, frames and epochs. In
``bodies`` all clips have one constant vector in place of a frozen encoder's, so that the network
alone answers. Joints are projected by the nominal camera of the sensor, and pictures are cut to the
square around the body over the whole take, with a quarter more, as EPAM-Net does. Each seed holds
out other people.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cached import array_of, file_of
from harness import Namespace, arguments, manifest, some, store, stored
from torch.nn import functional

import vlar
from vlar import registry
from vlar.encoders.base import Preprocess, load_encoder
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.heads.support import SupportItem
from vlar.media.lookup import reader
from vlar.media.video.decode import read_clip
from vlar.methods import released
from vlar.methods.released import masked as pretraining
from vlar.methods.released.video_mae import DEVIATION, MEAN
from vlar.methods.video_net.adapter import as_in_use
from vlar.methods.video_net.bodies import skeleton_joints
from vlar.model.core import ModelCore
from vlar.model.method import Method
from vlar.training.batches import Dataset
from vlar.training.data import RecordingLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.types import Clip

SIDE, SMALL = 48, 32  # of pictures; of those of masked, where steps count for more
TOWER = {
    "img_size": SMALL, "patch_size": 8, "tubelet_size": 2, "all_frames": 8, "embed_dim": 96,
    "depth": 4, "num_heads": 3, "mlp_ratio": 4.0, "num_classes": 0, "norm_eps": 1e-6,
}  # fmt: skip
PIXELS = Preprocess(SMALL, SMALL, MEAN, DEVIATION, "squash")
BATCH = 8
PENALTY = 0.1  # of the ridge, as a share of the mean squared length of a row
#: Tangents of half the angles of the colour camera of a Kinect, across and along.
VIEW = math.tan(math.radians(31.0)), math.tan(math.radians(24.3))


class InMemory(RecordingLoader):
    """Clips that were read before."""

    def __init__(self, clips: Sequence[Clip], adapter: Any) -> None:
        self.clips, self.encoder, self.failed = clips, adapter, {}
        self.paths = [clip.path for clip in clips]

    def read(self, rows: Any, numbers: Any, randoms: Any) -> list[Clip]:
        """The clips of some rows."""
        del numbers, randoms
        return [self.clips[row] for row in rows]


class Lab:
    """Rows that were measured, and clips that were read."""

    def __init__(self, given: Namespace) -> None:
        self.given = given
        self.rows: list[dict[str, Any]] = stored(given.json, [])
        given.cache.mkdir(parents=True, exist_ok=True)
        self.encoder = load_encoder("lite") if given.question in ("bodies", "forward") else None

    def measured(self, **key: Any) -> bool:
        """Presence of a row of this key."""
        return any(all(row.get(k) == v for k, v in key.items()) for row in self.rows)

    def keep(self, key: dict[str, Any], **row: Any) -> None:
        """Keep and print a row."""
        self.rows.append({**key, **row})
        print(*self.rows[-1].values(), flush=True)
        store(self.given.json, self.rows)

    def frames(self, path: str, count: int, side: int = SIDE) -> np.ndarray:
        """(T, S, S, 3) small frames of a recording, its central square; kept in the cache."""

        def make() -> np.ndarray:
            data = read_clip(self.given.shared / path, n_frames=count, shorter_side=2 * side).data
            x = torch.from_numpy(data).permute(0, 3, 1, 2).float()
            least = min(x.shape[2:])
            top, left = ((size - least) // 2 for size in x.shape[2:])
            x = x[:, :, top : top + least, left : left + least]
            small = functional.interpolate(x, (side, side), mode="area")
            return small.round().byte().permute(0, 2, 3, 1).numpy()

        return array_of(file_of(self.given.cache, f"{path} {count} {side}"), make)

    def utd(
        self, count: int, side: int = SIDE
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        """Frames (n, T, S, S, 3), labels, people and names of the takes in colour."""
        rows = [
            row
            for row in manifest(self.given.shared / "modalities")
            if row["path"].startswith("utd_mhad/rgb/")
        ]
        frames = np.stack([self.frames(f"modalities/{row['path']}", count, side) for row in rows])
        names = [Path(row["path"]).name.removesuffix("_color.mp4") for row in rows]
        y, who = (np.array([row[key] for row in rows]) for key in ("label", "group"))
        return frames, y, who, names


def clip_of(frames: np.ndarray, name: str) -> Clip:
    """Frames as a clip of a second."""
    times_s = np.linspace(0, 1, len(frames))
    return Clip(Path(name), vlar.Window(0.0, 1.0), "video", np.ascontiguousarray(frames), times_s)


# Masked pre-training


def masked(lab: Lab, seed: int) -> None:
    """A probe of five actions after pre-training on some clips without labels."""
    count = int(TOWER["all_frames"])
    frames, y, who, _ = lab.utd(count, SMALL)
    paths = [
        f"{folder}/{row['path']}"
        for folder in ("videos", "clips")
        for row in manifest(lab.given.shared / folder)
    ]
    free = np.stack([lab.frames(path, count, SMALL) for path in paths])
    order = np.random.default_rng(seed).permutation(len(free))
    if not lab.measured(question="masked", features="pixels", seed=0):
        row = probe(frames.reshape(len(frames), -1) / 255.0, y, who, 0)
        lab.keep({"question": "masked", "features": "pixels", "seed": 0}, **row)
    for clips, control in ((0, ""), (100, ""), (500, ""), (500, "pixels permuted")):
        steps = lab.given.steps if clips else 0
        key = {"question": "masked", "clips": clips, "control": control, "steps": steps,
               "seed": seed}  # fmt: skip
        if lab.measured(**key):
            continue
        begin = time.process_time()
        given = free[order[:clips]]
        if control:
            random = np.random.default_rng(seed)
            flat = given.reshape(*given.shape[:2], SMALL**2, 3)
            given = np.stack([clip[:, random.permutation(SMALL**2)] for clip in flat])
            given = given.reshape(clips, *free.shape[1:])
        tower, note = pretrained(given, seed, lab.given.steps)
        with torch.inference_mode():
            features = [tower(as_in_use(clip, PIXELS).transpose(0, 1)[None])[0] for clip in frames]
        row = probe(torch.stack(features).numpy(), y, who, seed)
        lab.keep(key, **row, note=note, cpu_s=round(time.process_time() - begin, 1))


def pretrained(frames: np.ndarray, seed: int, steps: int) -> tuple[Any, str]:
    """Features of a small tower after the product's own pre-training on clips (n, T, S, S, 3)."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tower.safetensors"
        save_file(released.build("videomae_v2", TOWER).state_dict(), file)
        Path(f"{file}.json").write_text(json.dumps({"config": TOWER}), "utf-8")
        encoder = load_encoder(f"videomae-v2:{file}")
        if not len(frames):
            tower = released.load("videomae_v2", file)
            return tower.features, "random weights"
        clips = {Path(f"{row}"): clip_of(clip, f"{row}") for row, clip in enumerate(frames)}
        pretraining.reader = lambda _: Memory(clips)  # type: ignore[assignment]
        from vlar.model.adapt import AdaptTask
        from vlar.model.core import ModelCore

        epochs = math.ceil(steps / math.ceil(len(frames) / BATCH))
        settings = {
            "epochs": epochs, "batch": BATCH, "learning_rate": 1e-3, "warmup_epochs": epochs / 10,
        }  # fmt: skip
        items = [SupportItem(path, None, (), str(path)) for path in clips]
        method = Method.of("masked-video", settings=settings)
        task = AdaptTask(method, None, (), items, seed)
        adapted = registry.get("learner", "masked")().fit(ModelCore(encoder), task)
    return adapted.core.encoder.network.model.features, str(adapted.report.note)


def probe(features: np.ndarray, y: np.ndarray, who: np.ndarray, seed: int) -> dict[str, Any]:
    """Top-1 of a ridge on features (n, F), a person left out, and with shuffled labels."""
    shuffled = np.random.default_rng(seed).permutation(y)
    return {
        "top1": leave_one_out(features, y, y, who),
        "labels shuffled": leave_one_out(features, shuffled, y, who),
    }


def leave_one_out(x: np.ndarray, taught: np.ndarray, truth: np.ndarray, who: np.ndarray) -> float:
    """Top-1 in percent; the labels that teach may be others than those that are asked."""
    labels = np.array(sorted(set(truth.tolist())))
    right = np.zeros(len(truth), bool)
    for person in sorted(set(who.tolist())):
        out = who == person
        mean, deviation = x[~out].mean(0), x[~out].std(0) + 1e-6
        rows = (x - mean) / deviation
        inner = rows[~out] @ rows[~out].T
        target = (taught[~out, None] == labels).astype(float)
        penalty = PENALTY * float(np.trace(inner)) / len(inner)
        weights = np.linalg.solve(inner + penalty * np.eye(len(inner)), target - target.mean(0))
        scores = rows[out] @ rows[~out].T @ weights + target.mean(0)
        right[out] = labels[scores.argmax(1)] == truth[out]
    return round(100 * float(right.mean()), 1)


class Memory:
    """A reader of clips that are in memory."""

    def __init__(self, clips: dict[Path, Clip]) -> None:
        self.clips = clips

    def read_clip(self, path: Path, window: Any, sampling: Any) -> Clip:
        """One clip."""
        del window, sampling
        return self.clips[path]


# Networks trained by pixels


def network_of(
    encoder: Any, network: str, pose: str, seed: int, count: int, width: int, moved: float
) -> Any:
    """An adapter around a network of random weights, at the start that a seed draws."""
    name = "gate-shift-pose" if pose != "none" else "video-net"
    settings = {"network": network, "pose": pose, "width": width, "size": SIDE, "frames": count}
    adapter = registry.get("adapter", name).attach(encoder, settings)
    adapter.restart(seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in adapter.network.parameters() if moved else ():
            weight.mul_(1 + moved * torch.randn(weight.shape, generator=random))
    return adapter


def trained(
    lab: Lab, network: str, pose: str, clips: Sequence[Clip], joints: np.ndarray | None,
    rows: np.ndarray, y: np.ndarray, seed: int, *, flip: bool, width: int = 8,
) -> Any:  # fmt: skip
    """An adapter that learned some rows; all clips have one constant vector."""
    encoder, labels = lab.encoder, tuple(sorted(set(y.tolist())))
    moved = lab.given.moved
    adapter = network_of(encoder, network, pose, seed, len(clips[0].data), width, moved)
    remember(lab, adapter, clips, joints, labels)
    paths = [clips[row].path for row in rows]
    dataset = Dataset.single(labels, y[rows].tolist(), [str(path) for path in paths], paths)
    numbers = load_recipe("video-net/adapt").replaced(
        epochs=lab.given.epochs, flip=flip, augment=not lab.given.plain
    )
    Training(
        adapter, InMemory([clips[row] for row in rows], adapter), dataset, numbers, seed=seed
    ).run()
    return adapter


def remember(
    lab: Lab, adapter: Any, clips: Sequence[Clip], joints: np.ndarray | None, labels: Sequence[str]
) -> None:
    """Give the adapter the constant vector and the joints of each clip."""
    constant = ModelCore(lab.encoder).encode_labels(list(labels)).mean(0)
    constant = (constant / np.linalg.norm(constant)).astype(np.float32)
    for row, clip in enumerate(clips):
        adapter._seen[clip.path, clip.window] = constant, None if joints is None else joints[row]


def answered(
    adapter: Any, clips: Sequence[Clip], labels: Sequence[str], stream: int | None = None
) -> list[str]:
    """The label of each clip that a trained adapter answers alone, by all streams or by one."""
    words = torch.from_numpy(adapter.prompt_vectors(adapter.config.labels))
    answers: list[str] = []
    with torch.inference_mode():
        concepts = adapter.network.concepts(words)
        for clip in clips:
            small, pooled = adapter.split_inputs(adapter.clip_inputs(clip, as_in_use)[None])
            streams = adapter.network.answers(adapter.network.features(small))
            x = pooled[:, 0] + sum(streams if stream is None else [streams[stream]])
            answers.append(labels[int((x @ concepts.T).argmax())])
    return answers


def percent_right(answers: Sequence[str], truth: np.ndarray) -> float:
    """Share of right answers in percent."""
    return round(100 * float((np.array(answers) == truth).mean()), 1)


ARMS = ("pictures", "joints", "exchanged", "auto")
METHODS = {"epam": ("shift", "guide"), "gate-shift-pose": ("gate-shift", "both")}


def bodies(lab: Lab, seed: int) -> None:
    """Pictures alone, with joints, and with the joints of another action; two people held out."""
    large, y, who, names = lab.utd(8, 4 * SIDE)
    takes = zip(large, names, strict=True)
    read = [boxed(clip, joints_of(lab, name, 8)) for clip, name in takes]
    frames, joints = (np.stack(rows) for rows in zip(*read, strict=True))
    clips = [clip_of(clip, name) for clip, name in zip(frames, names, strict=True)]
    labels, people = sorted(set(y.tolist())), sorted(set(who.tolist()))
    random = np.random.default_rng(seed)
    pairs = random.permutation(people).reshape(-1, 2)
    exchanged = joints[[random.choice(np.flatnonzero((y != y[i]) & (who == who[i])))
                        for i in range(len(y))]]  # fmt: skip
    for method in lab.given.methods:
        network, pose = METHODS[method]
        for fold in range(lab.given.folds):
            ask = np.flatnonzero(np.isin(who, pairs[fold]))
            teach = np.flatnonzero(~np.isin(who, pairs[fold]))
            asked = [clips[row] for row in ask]
            for arm in lab.given.arms:
                key = {
                    "question": "bodies",
                    "method": method,
                    "arm": arm,
                    "seed": seed,
                    "fold": fold,
                }
                if lab.measured(**key):
                    continue
                if arm == "auto":
                    lab.keep(key, top1=closed_form(lab, names, y, teach, ask))
                    continue
                begin = time.process_time()
                at = {"pictures": None, "joints": joints, "exchanged": exchanged}[arm]
                adapter = trained(
                    lab,
                    network,
                    "none" if at is None else pose,
                    clips,
                    at,
                    teach,
                    y,
                    seed,
                    flip=False,
                )
                found = {"top1": percent_right(answered(adapter, asked, labels), y[ask])}
                if method == "epam" and arm != "pictures":
                    for number, name in enumerate(("guided pictures", "bodies")):
                        alone = answered(adapter, asked, labels, number)
                        found[name] = percent_right(alone, y[ask])
                if arm == "joints":
                    remember(lab, adapter, clips, exchanged, labels)
                    found["other"] = percent_right(answered(adapter, asked, labels), y[ask])
                lab.keep(key, **found, cpu_s=round(time.process_time() - begin, 1))


def joints_of(lab: Lab, name: str, count: int) -> np.ndarray:
    """(T, V, 2) joints of a take at equal shares, in the central square of its picture."""
    file = lab.given.shared / "modalities" / "utd_mhad" / "skeleton" / f"{name}_skeleton.mat"
    clip = reader("skeleton").read_clip(file, None, load_encoder("skeleton").sampling)
    x, y, z = np.moveaxis(clip.data[..., :3], -1, 0)
    across, along = VIEW
    picture = np.stack([0.5 + x / z / across / 2 * 4 / 3, 0.5 - y / z / along / 2], axis=-1)
    meta = {**clip.meta, "unit": "picture", "size": (1.0, 1.0)}
    times_s = (np.arange(count) + 0.5) / count * clip.window.duration_s
    return skeleton_joints(replace(clip, data=picture.astype(np.float32), meta=meta), times_s)


def closed_form(
    lab: Lab, names: Sequence[str], y: np.ndarray, teach: np.ndarray, ask: np.ndarray
) -> float:
    """Top-1 of what ``vlar adapt`` chooses for the joints of the same takes."""
    encoder = load_encoder("skeleton")
    root = lab.given.shared / "modalities" / "utd_mhad" / "skeleton"

    def read(name: str) -> np.ndarray:
        clip = reader("skeleton").read_clip(root / f"{name}_skeleton.mat", None, encoder.sampling)
        return encoder.encode([clip])[0].features

    rows = [
        array_of(file_of(lab.given.cache, f"{n} {encoder.fingerprint}"), partial(read, n))
        for n in names
    ]
    x, labels = np.stack(rows), sorted(set(y.tolist()))
    shot = encoder.pool(x) @ ModelCore(encoder).encode_labels(labels).T
    blocks = encoder.frame_blocks
    head, _ = choose(x[teach], blocks, y[teach].tolist(), shot[teach], labels=labels)
    logits = head.logits(signature(x[ask], blocks, head.kind), shot[ask])
    return percent_right(np.array(head.labels)[logits.argmax(axis=1)].tolist(), y[ask])


def boxed(frames: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, S, S, 3) and joints (T, V, 2) in a square around the body over the whole clip."""
    low, high = np.nanmin(joints, (0, 1)), np.nanmax(joints, (0, 1))
    half, middle = 0.5 * 1.25 * float((high - low).max()), (low + high) / 2
    start = middle - half
    grid = np.linspace(-1, 1, SIDE)
    x, y = np.meshgrid(2 * middle[0] - 1 + 2 * half * grid, 2 * middle[1] - 1 + 2 * half * grid)
    places = torch.from_numpy(np.stack([x, y], -1)).float().expand(len(frames), -1, -1, -1)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    small = functional.grid_sample(pixels, places, padding_mode="border", align_corners=False)
    rows = small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return rows, ((joints - start) / (2 * half)).astype(np.float32)


def forward(lab: Lab, seed: int) -> None:
    """Clips forward and backward, one of five people, or a fifth of all films, held out."""
    rows = [
        row for row in manifest(lab.given.shared / "videos") if row["dataset"] in lab.given.sets
    ]
    frames = np.stack([lab.frames(f"videos/{row['path']}", 12) for row in rows])
    people = [f"{row['dataset']} {row['group']}" for row in rows] * 2
    who = np.array([sorted(set(people)).index(person) % 5 for person in people])
    y = np.repeat(["a video played forward", "a video played backward"], len(rows))
    clips = [clip_of(clip, f"{row} forward") for row, clip in enumerate(frames)]
    clips += [clip_of(clip[::-1], f"{row} backward") for row, clip in enumerate(frames)]
    labels, given = sorted(set(y.tolist())), lab.given
    how = {"clips": len(clips), "epochs": given.epochs, "moved": given.moved, "plain": given.plain}
    asked = [
        (int(fold), method, control)
        for fold in np.arange(seed, seed + given.folds) % 5
        for method in given.methods for control in given.controls
    ]  # fmt: skip
    for fold, method, control in asked:
        key = {"question": "forward", "network": method, "control": control, **how, "seed": seed,
               "fold": fold}  # fmt: skip
        if lab.measured(**key):
            continue
        network, _, width = method.partition(":")
        begin, teach = time.process_time(), np.flatnonzero(who != fold)
        taught = y.copy()
        if control:
            taught[teach] = np.random.default_rng(seed).permutation(taught[teach])
        adapter = trained(
            lab, network, "none", clips, None, teach, taught, seed, flip=True,
            width=int(width or 8),
        )  # fmt: skip
        spent = time.process_time() - begin
        fits, right = (
            percent_right(answered(adapter, [clips[row] for row in some], labels), of[some])
            for some, of in ((teach, taught), (np.flatnonzero(who == fold), y))
        )
        by_batch = percent_right(by_batches(adapter, [clips[row] for row in teach], labels, seed),
                                 taught[teach])  # fmt: skip
        lab.keep(key, top1=right, taught=fits, taught_by_batches=by_batch, cpu_s=round(spent, 1))


def by_batches(adapter: Any, clips: Sequence[Clip], labels: Sequence[str], seed: int) -> list[str]:
    """The label of each clip by the statistics of batches of eight drawn clips."""
    network = adapter.network
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    order = np.random.default_rng(seed).permutation(len(clips))
    answers = np.empty(len(clips), object)
    words = torch.from_numpy(adapter.prompt_vectors(adapter.config.labels))
    network.train()
    with torch.no_grad():
        concepts = network.concepts(words)
        for rows in np.array_split(order, len(clips) // 8):
            inputs = torch.stack([adapter.clip_inputs(clips[row], as_in_use) for row in rows])
            small, pooled = adapter.split_inputs(inputs)
            x = pooled[:, 0] + network.answer(network.features(small))
            answers[rows] = [labels[at] for at in (x @ concepts.T).argmax(dim=1).tolist()]
    network.eval()
    network.load_state_dict(kept)
    return answers.tolist()


def main() -> None:
    """Measure what is missing."""
    questions = {"masked": masked, "bodies": bodies, "forward": forward}
    given = arguments(
        __doc__, "shared", "json", question={"positional": True, "choices": list(questions)},
        seeds=5, first=(0, "first seed"), epochs=20, methods=some(list(METHODS)),
        steps=(1000, "of masked"), sets=some(["weizmann"], help="of forward"),
        moved=(0.0, "share by which weights of the start move"), plain=(False, "no crops"),
        folds=(1, "pairs of people (bodies); people held out, from the seed's on (forward)"),
        controls=some(["", "labels shuffled"], help="of forward"),
        arms=some(ARMS, help="of bodies"), cache=Path("/tmp/vlar-videos"),
    )  # fmt: skip
    torch.set_num_threads(1)
    lab = Lab(given)
    for seed in range(given.first, given.seeds):
        questions[given.question](lab, seed)


if __name__ == "__main__":
    main()
