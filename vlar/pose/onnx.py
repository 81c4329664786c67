"""Networks in ONNX Runtime: on the CPU one thread each, weights mapped from a file of the cache.

A cache entry holds the weights of a network and, behind them, its graph. The runtime maps the
weights into memory and copies only those it rearranges. So a network takes about its own size, a
large embedding table only the rows that were read, and loading takes a quarter of the time.

Another device than the CPU is an execution provider of the runtime, where that is installed. It has
the fingerprint of the CPU, so it must compute in float32: the first answer of each network is
compared with the CPU's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import ModelError, UsageError
from vlar.files import onnx_bytes
from vlar.files.resources import DIGEST_BYTES, cached_file, is_cached, release_memory

_OPSET = 20
_IR_VERSION = 10


class Graph:
    """Collects nodes and constants; ``constant`` and ``node`` return the name of their output."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._constants: list[onnx_bytes.Parts] = []

    def constant(self, value: npt.NDArray[Any]) -> str:
        """An initial value."""
        name = f"c{len(self._constants)}"
        self._constants.append(onnx_bytes.tensor(name, value))
        return name

    def node(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """An operator."""
        name = output or f"n{len(self._nodes)}"
        self._nodes.append(onnx_bytes.node(op, inputs, [name], **attributes))
        return name

    def nodes(self, op: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """An operator with several outputs."""
        names = [f"n{len(self._nodes)}_{number}" for number in range(count)]
        self._nodes.append(onnx_bytes.node(op, inputs, names, **attributes))
        return names

    def model(self, inputs: list[onnx_bytes.Value], outputs: list[onnx_bytes.Value]) -> bytes:
        """The serialised model."""
        return onnx_bytes.model(
            self._name,
            self._nodes,
            self._constants,
            inputs,
            outputs,
            opset=_OPSET,
            ir_version=_IR_VERSION,
        )


_LENGTH_BYTES = 8
_BEGIN = 32  # of the weights in the content; in the file they lie at a multiple of 64 bytes
_ALIGNED = 64
_SMALLEST = 1024  # bytes; smaller constants stay in the graph, whose shapes may depend on them
_Feeds = dict[str, Any]
_CPU = "CPUExecutionProvider"
# By the name of a device: provider, its options for float32, and the option that a number or name
# behind the colon of the device sets.
_PROVIDERS: dict[str, tuple[str, dict[str, str], str]] = {
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}, "device_id"),
    "mps": ("CoreMLExecutionProvider", {"ModelFormat": "MLProgram"}, "MLComputeUnits"),
    "openvino": ("OpenVINOExecutionProvider", {"precision": "ACCURACY"}, "device_type"),
    "directml": ("DmlExecutionProvider", {}, "device_id"),
}
_MOST_APART = 1e-3  # norm of the difference from the CPU, over that of the output
_device: ContextVar[str] = ContextVar("device", default="cpu")
#: Extras whose networks this process has made.
owners: set[str] = set()


@contextmanager
def on_device(device: str | None) -> Generator[None]:
    """Place the networks that are made inside on a device; None is the CPU.

    Raises:
        UsageError: the runtime has no execution provider for it.
    """
    provider_of(device or "cpu")
    token = _device.set(device or "cpu")
    try:
        yield
    finally:
        _device.reset(token)


def provider_of(device: str) -> tuple[str, dict[str, str]]:
    """Execution provider of a device such as ``cuda:1`` or ``openvino:GPU``, and its options.

    Raises:
        UsageError: no device has this name, or the runtime has no provider for it.
    """
    name, _, part = device.partition(":")
    if name == "cpu":
        return _CPU, {}
    import onnxruntime

    provider, options, option = _PROVIDERS.get(name, ("", {}, ""))
    available = onnxruntime.get_available_providers()
    if provider not in available:
        what = f"no {provider}" if provider else "no such device"
        raise UsageError(
            f"device {device!r}: ONNX Runtime has {what} (it has {', '.join(available)}); install "
            "the onnxruntime of that device in place of this one, or leave the device out"
        )
    return provider, options | ({option: part} if part else {})


class CachedNetwork:
    """A network that is loaded when it first runs; its entry is made at once where there is none.

    Args:
        folder: Cache folder of its entry.
        name: File name of the entry; it should hold the hash of what the network is made from.
        make: Makes the serialised graph with its weights.
        what: Names the network in the line that explains the wait; None for no line.
        owner: Name of the model for error messages.

    Attributes:
        device: Where it runs: the device of ``on_device`` around the call.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        make: Callable[[], bytes],
        what: str | None,
        owner: str,
    ) -> None:
        self._entry = folder, name, lambda: packed(make(), name), what
        self._owner, self.device = owner, _device.get()
        owners.add(owner)
        self._session: Any = None
        self._lock = threading.Lock()
        self._made = None if is_cached(folder, name) else cached_file(*self._entry)

    def load(self) -> Any:
        """The session; it is opened now if it was not.

        Raises:
            ModelError: the runtime rejects the graph.
        """
        with self._lock:
            if self._session is None:
                path = self._made or cached_file(*self._entry)
                self._session = open_packed(path, self._owner, self.device)
                release_memory()  # opening takes half as much again
            return self._session

    def close(self) -> None:
        """Free the session; the next run opens it again."""
        with self._lock:
            self._session = None
        release_memory()

    def run(self, outputs: Sequence[str], feeds: _Feeds) -> list[Any]:
        """The named outputs for the named inputs."""
        return (self._session or self.load()).run(list(outputs), feeds)


def packed(model: bytes, name: str) -> bytes:
    """The content of a cache entry: length of the weights, weights, graph.

    Args:
        model: A serialised graph that holds its weights.
        name: File name of the entry, where the graph looks for the weights.
    """
    first = DIGEST_BYTES + _BEGIN
    weights, graph = onnx_bytes.split(model, name, first, _ALIGNED, _SMALLEST)
    length = sum(len(part) for part in weights).to_bytes(_LENGTH_BYTES, "little")
    return b"".join([length, bytes(_BEGIN - _LENGTH_BYTES), *weights, graph])


def open_packed(path: Path, owner: str, device: str = "cpu") -> Any:
    """A session of a packed network on a device.

    Raises:
        ModelError: the runtime rejects it.
    """
    with path.open("rb") as file:
        file.seek(DIGEST_BYTES)
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        file.seek(DIGEST_BYTES + _BEGIN + length)
        return make_session(file.read(), owner, path.parent, device)


def make_session(
    model: bytes, owner: str = "lite-motion", weights: Path | None = None, device: str = "cpu"
) -> Any:
    """An ONNX Runtime session on one thread, so that results do not depend on the machine.

    Args:
        model: The serialised graph.
        owner: Name of the model for the error message.
        weights: Folder of the file that holds the weights, if the graph does not.
        device: As for ``provider_of``.

    Raises:
        ModelError: the runtime rejects the graph, or cannot start the device.
        UsageError: as for ``provider_of``.
    """
    import onnxruntime

    # vlar works offline; the runtime of some platforms reports its use unless this is called.
    getattr(onnxruntime, "disable_telemetry_events", lambda: None)()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # the arena never shrinks, and gains no time here
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(weights)
        )
    provider, settings = provider_of(device)
    providers: list[Any] = [_CPU] if provider == _CPU else [(provider, settings), _CPU]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:
        raise ModelError(f"ONNX Runtime cannot load a network of {owner!r}: {error}") from error
    if provider == _CPU:
        return session
    if session.get_providers()[0] != provider:  # it goes on without a library that is missing
        raise ModelError(
            f"ONNX Runtime cannot start {provider} on device {device!r} for {owner!r}; see the "
            "libraries that it needs, or leave the device out"
        )
    return _Compared(session, lambda: make_session(model, owner, weights), f"{owner} on {device}")


class _Compared:
    """A session whose first outputs are compared with those of the CPU."""

    def __init__(self, session: Any, on_cpu: Callable[[], Any], what: str) -> None:
        self._session, self._what = session, what
        self._on_cpu: Callable[[], Any] | None = on_cpu

    def run(self, outputs: Sequence[str] | None, feeds: _Feeds) -> list[Any]:
        rows = self._session.run(outputs, feeds)
        if self._on_cpu is not None:
            for row, exact in zip(rows, self._on_cpu().run(outputs, feeds), strict=True):
                apart = float(np.linalg.norm(row - exact) / max(np.linalg.norm(exact), 1e-12))
                if not apart <= _MOST_APART:
                    raise ModelError(
                        f"{self._what} does not compute in float32: its numbers are {apart:.1g} "
                        "away from the CPU's; leave the device out"
                    )
            self._on_cpu = None
        return rows
