"""Shots of recordings: the network against its formula, found once, kept, never crossed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

import vlar
from tests.refusals import refused
from tests.unit.encoders.test_fused import Scene
from tests.unit.media import planted_shots as planted
from tests.unit.media.planted_shots import random_weights
from vlar.errors import DecodeError, LibraryError, ModelError, UsageError
from vlar.library.library import Library
from vlar.library.manifest import WindowSpec
from vlar.media import shots as detector
from vlar.media import shots as found_shots
from vlar.media.base import Reader
from vlar.media.lookup import reader
from vlar.media.readers.video import VideoReader
from vlar.media.shots import HEIGHT, N_FRAMES, WIDTH, build, colour_similarity
from vlar.media.video.sample import frame_times
from vlar.media.views import ViewSampler
from vlar.model.model import Model
from vlar.pose.onnx import make_session
from vlar.types import Sampling, Window


@pytest.fixture(scope="module", autouse=True)
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        found_shots._detector.cache_clear()
        planted.install()
        yield
        found_shots._detector.cache_clear()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shots: 1.2 s of red, 2 s of green, 0.8 s of blue."""
    path = tmp_path_factory.mktemp("films") / "film.mkv"
    return planted.film(path, [("red", 12), ("green", 20), ("blue", 8)])


def spans(shots: list[Window]) -> list[tuple[float, float]]:
    return [(round(shot.start_s, 3), round(shot.end_s, 3)) for shot in shots]


def test_shots_begin_with_their_first_frame(film: Path):
    assert spans(vlar.shots(film)) == [(0.0, 1.2), (1.2, 3.2), (3.2, 4.0)]


def test_shots_are_found_once(film: Path, monkeypatch: pytest.MonkeyPatch):
    first = vlar.shots(film)
    monkeypatch.setattr(VideoReader, "read_frames", None)
    assert vlar.shots(film) == first


def test_a_film_without_cuts_is_one_shot(tmp_path: Path):
    path = planted.film(tmp_path / "still.mkv", [("red", 30)])
    assert spans(vlar.shots(path)) == [(0.0, 3.0)]


def test_a_folder_of_pictures_has_shots(tmp_path: Path):
    from PIL import Image

    for number in range(6):
        colour = planted.COLOURS["red" if number < 4 else "blue"]
        Image.new("RGB", (64, 48), colour).save(tmp_path / f"{number:03}.png")
    assert spans(vlar.shots(tmp_path)) == [(0.0, 0.16), (0.16, 0.24)]


def test_a_broken_film_is_an_error_of_its_own(tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film" * 100)
    refused(DecodeError, r"broken\.mp4", vlar.shots, broken)


def test_other_sensors_have_no_shots():
    class Silent(Reader):
        modality = "silent"
        probe = read_clip = None  # type: ignore[assignment]

    refused(UsageError, "silent", found_shots.require_shots, object.__new__(Silent))


@given(
    st.lists(st.floats(0.05, 9.0), min_size=1, max_size=8),
    st.floats(0.3, 6.0),
    st.floats(0.2, 3.0),
    st.sampled_from([1.0, 3.0]),
)
def test_no_window_crosses_a_cut_and_none_is_lost(
    lengths: list[float], window_s: float, stride_s: float, times: float
):
    ends = np.cumsum([0.0, *lengths]).tolist()
    shots = [Window(*pair) for pair in pairwise(ends)]
    spec = WindowSpec(window_s, min(stride_s, window_s), Sampling(4), times)
    found = list(spec.spans(ends[-1], shots))
    for window in found:
        inside = [s for s in shots if s.start_s <= window.start_s and window.end_s <= s.end_s]
        assert len(inside) == 1
        shown = frame_times(window, 8)
        assert inside[0].start_s <= shown[0] <= shown[-1] <= inside[0].end_s
    for shot in shots:  # covered but for a tail of less than 1 % of a window
        own = [w for w in found if shot.start_s <= w.start_s and w.end_s <= shot.end_s]
        assert min(w.start_s for w in own) == shot.start_s
        assert max(w.end_s for w in own) >= shot.end_s - 0.011 * window_s
    assert list(spec.spans(ends[-1])) == list(spec.spans(ends[-1], [Window(0.0, ends[-1])]))


def test_a_span_is_read_shot_by_shot_the_longest_first(film: Path):
    sampler = ViewSampler(reader("video"), Sampling(4))
    (whole,) = sampler.sample(film)
    assert len(np.unique(whole.data.reshape(4, -1), axis=0)) == 3  # it crosses both cuts
    views = sampler.shot_by_shot.sample(film)
    assert [view.data[0, 0, 0].argmax() for view in views] == [1, 0, 2]
    assert all((view.data == view.data[:1]).all() for view in views)
    assert views[0].window == whole.window  # an answer is about the whole span
    (one,) = sampler.shot_by_shot.one_view.sample(film)
    assert one.data[0, 0, 0].argmax() == 1
    (part,) = sampler.shot_by_shot.sample(film, Window(1.4, 3.0))
    assert part.window == Window(1.4, 3.0)


def test_in_a_batch_the_same(film: Path, tmp_path: Path):
    sampler = ViewSampler(reader("video"), Sampling(4)).shot_by_shot
    still = planted.film(tmp_path / "still.mkv", [("blue", 9)])
    missing = tmp_path / "missing.mkv"
    first, second, third = sampler.sample_each([(film, None), (missing, None), (still, None)])
    assert [len(views) if isinstance(views, list) else views.path for views in (first, third)] == [
        3,
        1,
    ]
    assert second.path == missing  # type: ignore[union-attr]
    windows = list(sampler.sample_every([film], 2.0))
    assert [[v.data[0, 0, 0].argmax() for v in views] for views in windows] == [[0, 1], [1, 2]]  # type: ignore[union-attr]


def test_an_answer_is_the_mean_of_its_shots(film: Path):
    model = Model(Scene())
    by_shots = model.classify(film, ["red", "green", "blue"], shots=True)
    similar = {p.label: p.similarity for p in by_shots.predictions}
    np.testing.assert_allclose(list(similar.values()), 1 / np.sqrt(3), atol=0.2)
    assert (by_shots.start_s, by_shots.end_s) == (0.0, 4.0)
    (listed,) = model.classify([film], ["red", "green", "blue"], shots=True)
    assert listed.to_dict() == by_shots.to_dict()
    whole = model.classify(film, ["red", "green", "blue"])
    assert whole.predictions[0].label == "green"  # the longest shot has most frames


def test_a_library_is_cut_at_shots_and_stays_so(film: Path, tmp_path: Path):
    place = tmp_path / "films.vlar"
    model = Model(Scene())
    with Library(place, model) as library:
        report = library.add(film, window_s=1.0, stride_s=1.0, shots=True)
        assert report.rows == 2 + 2 + 1
        refused(LibraryError, "--shots", library.add, film, shots=False)
        hit = library.query("green", k=1)[0]
        assert (round(hit.start_s, 2), round(hit.end_s, 2)) == (1.2, 3.2)
        other = planted.film(tmp_path / "other.mkv", [("blue", 10), ("red", 10)])
        assert library.add(other).rows == 2  # the library's own windows are cut at shots
    with Library(tmp_path / "plain.vlar", model) as library:
        assert library.add(film, window_s=1.0, stride_s=1.0).rows == 4


def test_without_the_network_nothing_is_read(
    film: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "empty"))
    found_shots._detector.cache_clear()
    with Library(tmp_path / "films.vlar", Model(Scene())) as library:
        refused(ModelError, "vlar models get shots", library.add, film, shots=True)
        assert library.info().rows == 0
    with pytest.raises(ModelError, match="vlar models get shots"):
        Model(Scene()).classify(film, ["red", "blue"], shots=True)
    found_shots._detector.cache_clear()


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
    refused(ModelError, r"fc1\.bias.*vlar models get shots", build, state)


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
    refused(ModelError, "vlar models get shots", detector.ShotDetector)
