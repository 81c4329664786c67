"""How ONNX Runtime is started."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from tests.refusals import refused
from vlar.errors import ModelError, UsageError
from vlar.pose import onnx
from vlar.pose.onnx import CachedNetwork, make_session, open_packed, provider_of


def test_telemetry_is_off_before_a_session_starts(monkeypatch: pytest.MonkeyPatch):
    runtime = MagicMock()
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    make_session(b"graph")
    names = [call[0] for call in runtime.mock_calls]
    assert names.index("disable_telemetry_events") < names.index("InferenceSession")


def test_a_runtime_without_telemetry_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch):
    options = MagicMock()
    runtime = SimpleNamespace(SessionOptions=options, InferenceSession=MagicMock())
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    assert make_session(b"graph") is runtime.InferenceSession.return_value


def test_a_broken_graph_names_its_owner():
    refused(ModelError, "a network of 'mine'", make_session, b"no graph", "mine")


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Runtime:
    """ONNX Runtime with CUDA, whose outputs differ from the CPU's by a factor."""

    SessionOptions = MagicMock

    def __init__(self, factor: float, starts: bool = True) -> None:
        self.factor, self.starts = factor, starts
        self.providers: list[object] = []

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def InferenceSession(self, model: bytes, options: object, providers: list[object]) -> object:
        self.providers.append(providers)
        on_cuda = providers != [CPU]
        output = np.ones(4, np.float32) * (self.factor if on_cuda else 1)
        names = [CUDA, CPU] if on_cuda and self.starts else [CPU]
        return SimpleNamespace(run=lambda *_: [output], get_providers=lambda: names)


def test_a_provider_is_used_where_it_is_and_compared_with_the_cpu_once(
    monkeypatch: pytest.MonkeyPatch,
):
    runtime = Runtime(1 + 1e-5)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    session = make_session(b"graph", device="cuda:1")
    for _ in range(2):
        assert session.run(["y"], {})[0][0] > 1
    options = {"use_tf32": "0", "device_id": "1"}
    assert runtime.providers == [[(CUDA, options), CPU], [CPU]]
    assert provider_of("cuda") == (CUDA, {"use_tf32": "0"})
    make_session(b"graph")
    assert runtime.providers[2:] == [[CPU]]


def test_a_provider_that_is_missing_or_inexact_or_does_not_start_is_refused(
    monkeypatch: pytest.MonkeyPatch,
):
    runtime = Runtime(1.01)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    session = make_session(b"graph", "mine", device="cuda")
    refused(ModelError, "mine on cuda does not compute in float32", session.run, ["y"], {})
    refused(ModelError, "does not compute in float32", session.run, ["y"], {})
    has = f"no DmlExecutionProvider .it has {CUDA}, {CPU}.; install"
    refused(UsageError, has, make_session, b"graph", device="directml")
    refused(UsageError, "no such device", provider_of, "gpu")
    runtime.starts = False
    refused(ModelError, f"cannot start {CUDA}", make_session, b"graph", device="cuda")


def product(weights: np.ndarray) -> bytes:
    """The graph ``y = x @ weights``."""
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    rows, columns = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [value("x", TensorProto.FLOAT, [1, rows])],
        [value("y", TensorProto.FLOAT, [1, columns])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()


@pytest.fixture
def weights() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)


@pytest.mark.parametrize("can_write", [True, False], ids=["cache", "no cache"])
def test_mapped_weights_give_what_the_whole_graph_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: np.ndarray, can_write: bool
):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path if can_write else tmp_path / "file" / "below"))
    (tmp_path / "file").touch()
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return product(weights)

    feeds = {"x": np.arange(40, dtype=np.float32)[None]}
    expected = make_session(product(weights)).run(["y"], feeds)[0]
    for _ in range(2):
        network = CachedNetwork("nets-1", "product.network", make, None, "mine")
        network.load()
        np.testing.assert_array_equal(network.run(["y"], feeds)[0], expected)
    assert len(made) == (1 if can_write else 2)


def test_an_entry_is_made_at_once_and_loaded_when_it_first_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: np.ndarray
):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path))
    opened: list[Path] = []

    def open_and_note(path: Path, owner: str, device: str) -> object:
        opened.append(path)
        return open_packed(path, owner, device)

    monkeypatch.setattr(onnx, "open_packed", open_and_note)
    network = CachedNetwork("nets-1", "p.network", lambda: product(weights), None, "mine")
    assert len(list(tmp_path.rglob("p.network"))) == 1
    assert opened == []
    for _ in range(2):
        network.run(["y"], {"x": np.ones((1, 40), np.float32)})
    assert len(opened) == 1
    before = network.run(["y"], {"x": np.ones((1, 40), np.float32)})[0]
    network.close()
    assert len(opened) == 1
    np.testing.assert_array_equal(
        network.run(["y"], {"x": np.ones((1, 40), np.float32)})[0], before
    )
    assert len(opened) == 2


def test_a_damaged_entry_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: np.ndarray
):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path))

    def network() -> CachedNetwork:
        return CachedNetwork("nets-1", "p.network", lambda: product(weights), None, "mine")

    network().load()
    (entry,) = tmp_path.rglob("p.network")
    content = bytearray(entry.read_bytes())
    assert hashlib.sha256(content[32:]).digest() == content[:32]
    content[100] ^= 1
    entry.write_bytes(content)
    feeds = {"x": np.ones((1, 40), np.float32)}
    np.testing.assert_allclose(network().run(["y"], feeds)[0][0], weights.sum(axis=0), atol=1e-4)
    assert hashlib.sha256(entry.read_bytes()[32:]).digest() == entry.read_bytes()[:32]
