"""The network against its formula, and the windows of a stream against a single pass."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from tests.unit.media.shot_detection.planted import random_weights
from vlar.errors import ModelError
from vlar.media import shots as detector
from vlar.media.shots import HEIGHT, N_FRAMES, WIDTH, build, colour_similarity
from vlar.pose.onnx import make_session


def frames(n: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    shots = draw.integers(0, 256, (n // 40 + 1, 9, 16, 3), dtype=np.uint8)
    found = shots[np.arange(n) // 40].repeat(3, axis=1).repeat(3, axis=2)
    return found ^ draw.integers(0, 8, found.shape, dtype=np.uint8)


def by_the_formula(state: dict[str, np.ndarray], pixels: np.ndarray) -> list[np.ndarray]:
    """TransNet V2 in three-dimensional convolutions, as the paper draws it."""
    w = {name: torch.from_numpy(value) for name, value in state.items()}
    x = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].float() / 255
    means = []
    for stage in range(3):
        cells = []
        for cell in range(2):
            key, inside = f"SDDCNN.{stage}.DDCNN.{cell}.", cells[-1] if cells else x
            parts = []
            for d in (1, 2, 4, 8):
                space = f"{key}Conv3D_{d}.layers.0.weight"
                time = f"{key}Conv3D_{d}.layers.1.weight"
                y = functional.conv3d(inside, w[space], padding=(0, 1, 1))
                parts.append(functional.conv3d(y, w[time], padding=(d, 0, 0), dilation=(d, 1, 1)))
            norm = [
                w[f"{key}bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
            ]
            cells.append(functional.batch_norm(torch.cat(parts, 1), *norm, eps=1e-3).relu())
        x = functional.avg_pool3d(cells[0] + cells[1], (1, 2, 2))
        means.append(x.mean(dim=(3, 4)))
    similar = torch.cat(means, 1)[0].T

    def dense(key: str, values: torch.Tensor) -> torch.Tensor:
        return functional.linear(values, w[f"{key}.weight"], w[f"{key}.bias"])

    unit = functional.normalize(dense("frame_sim_layer.projection", similar), dim=1)
    every = functional.pad(unit @ unit.T, (50, 50))
    band = torch.stack([row[at : at + 101] for at, row in enumerate(every)])
    colours = torch.from_numpy(colour_similarity(pixels))
    parts = [
        dense("color_hist_layer.fc", colours).relu(),
        dense("frame_sim_layer.fc", band).relu(),
        x[0].permute(1, 2, 3, 0).flatten(1),
    ]
    y = dense("fc1", torch.cat(parts, 1)).relu()
    return [dense(head, y).sigmoid()[:, 0].numpy() for head in ("cls_layer1", "cls_layer2")]


def test_the_graph_is_the_network():
    state, pixels = random_weights(), frames(N_FRAMES)
    feeds = {
        "frames": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) / np.float32(255)),
        "colours": colour_similarity(pixels),
    }
    found = make_session(build(state)).run(["cut", "transition"], feeds)
    for mine, own in zip(found, by_the_formula(state, pixels), strict=True):
        np.testing.assert_allclose(mine, own, atol=1e-5)
        assert np.ptp(own) > 1e-3  # not a constant that would agree with anything


def test_weights_that_lack_an_array_cost_one_line():
    state = random_weights()
    del state["fc1.bias"]
    with pytest.raises(ModelError, match=r"fc1\.bias.*vlar models get shots"):
        build(state)


def test_colours_are_compared_with_the_frames_around():
    pixels = frames(80)
    found = colour_similarity(pixels)
    assert found.shape == (80, 101)
    np.testing.assert_allclose(found[:, 50], 1, atol=1e-6)  # with itself
    np.testing.assert_allclose(found[3, 50 + 7], found[10, 50 - 7], atol=1e-6)
    assert not found[0, :50].any()
    assert not found[-1, 51:].any()


class Echo:
    """Answers each frame with its first pixel, and remembers what it was given."""

    def __init__(self) -> None:
        self.windows: list[np.ndarray] = []

    def run(self, outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        del outputs
        self.windows.append(feeds["frames"][:, 0, 0, 0] * 255)
        return [feeds["frames"][:, 0, 0, 0]]


def echo() -> tuple[detector.ShotDetector, Echo]:
    made, network = object.__new__(detector.ShotDetector), Echo()
    made._network = network  # pyright: ignore[reportAttributeAccessIssue]
    return made, network


@given(st.integers(0, 260))
def test_every_frame_has_one_answer_with_25_frames_around_it(n: int):
    made, network = echo()
    numbers = np.arange(n) % 251
    pixels = (np.full((HEIGHT, WIDTH, 3), number, np.uint8) for number in numbers)
    found = [p for part in made.probabilities(pixels) for p in part.tolist()]
    np.testing.assert_allclose(np.array(found) * 255, numbers, atol=1e-3)
    assert len(network.windows) == -(-n // 50)
    if n:  # the first frame is repeated before the film, the last one after it
        np.testing.assert_allclose(network.windows[0][:26], numbers[0], atol=1e-3)
        np.testing.assert_allclose(network.windows[-1][-25:], numbers[-1], atol=1e-3)


def test_a_long_film_takes_no_more_memory_than_a_short_one():
    def peak(n: int) -> int:
        made, network = echo()
        network.windows = type("Nothing", (list,), {"append": lambda self, x: None})()
        pixels = (np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(n))
        tracemalloc.start()
        for _ in made.probabilities(pixels):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(120)
    assert peak(1500) < 1.1 * peak(300)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_shots_follow_each_other_and_hold_no_frame_of_a_transition(cuts: list[bool]):
    times, duration_s = np.arange(len(cuts)) / 10, len(cuts) / 10
    found = detector.shots_between(times, np.array(cuts), duration_s)
    assert all(before.end_s <= after.start_s for before, after in pairwise(found))
    for number, cut in enumerate(cuts):
        middle = times[number] + 0.05
        inside = [shot for shot in found if shot.start_s <= middle < shot.end_s]
        in_transition = cut and number > 0 and cuts[number - 1]
        assert len(inside) == (not in_transition)


def test_without_the_weights_the_command_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path_factory.mktemp("cache")))
    with pytest.raises(ModelError, match="vlar models get shots"):
        detector.ShotDetector()
