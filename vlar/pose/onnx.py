"""Networks in ONNX Runtime: one thread each, weights mapped from a file of the cache.

A cache entry holds the weights of a network and, behind them, its graph. The runtime maps the
weights into memory and copies only those it rearranges. So a network takes about its own size, a
large embedding table only the rows that were read, and loading takes a quarter of the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import ModelError
from vlar.files.resources import DIGEST_BYTES, cached_file, is_cached, release_memory

_OPSET = 20
_IR_VERSION = 10


class Graph:
    """Collects nodes and constants; ``constant`` and ``node`` return the name of their output."""

    def __init__(self, name: str) -> None:
        from onnx import helper, numpy_helper

        self._name = name
        self._helper, self._numpy_helper = helper, numpy_helper
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: npt.NDArray[Any]) -> str:
        """An initial value."""
        name = f"c{len(self._constants)}"
        tensor = self._numpy_helper.from_array(np.ascontiguousarray(value), name)
        self._constants.append(tensor)
        return name

    def node(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """An operator."""
        name = output or f"n{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def nodes(self, op: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """An operator with several outputs."""
        names = [f"n{len(self._nodes)}_{number}" for number in range(count)]
        self._nodes.append(self._helper.make_node(op, list(inputs), names, **attributes))
        return names

    def model(self, inputs: list[Any], outputs: list[Any]) -> bytes:
        """The serialised model; the graph is empty then, since copies of all weights add up."""
        graph = self._helper.make_graph(self._nodes, self._name, inputs, outputs)
        opset = self._helper.make_opsetid("", _OPSET)
        model = self._helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        model.graph.initializer.extend(self._constants)
        self._constants.clear()
        return model.SerializeToString()


_LENGTH_BYTES = 8
_BEGIN = 32  # of the weights in the content; in the file they lie at a multiple of 64 bytes
_ALIGNED = 64
_SMALLEST = 1024  # bytes; smaller constants stay in the graph, whose shapes may depend on them
_Feeds = dict[str, Any]


class CachedNetwork:
    """A network that is loaded when it first runs; its entry is made at once where there is none.

    Args:
        folder: Cache folder of its entry.
        name: File name of the entry; it should hold the hash of what the network is made from.
        make: Makes the serialised graph with its weights.
        what: Names the network in the line that explains the wait; None for no line.
        owner: Name of the model for error messages.
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
        self._owner = owner
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
                self._session = open_packed(path, self._owner)
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
    import onnx
    from onnx.external_data_helper import set_external_data

    proto = onnx.load_from_string(model)
    weights = bytearray()
    for tensor in proto.graph.initializer:
        if len(tensor.raw_data) < _SMALLEST:
            continue
        weights += bytes(-len(weights) % _ALIGNED)
        offset = DIGEST_BYTES + _BEGIN + len(weights)
        weights += tensor.raw_data
        set_external_data(tensor, name, offset=offset, length=len(tensor.raw_data))
        tensor.ClearField("raw_data")
    length = len(weights).to_bytes(_LENGTH_BYTES, "little")
    begin = length + bytes(_BEGIN - _LENGTH_BYTES)
    return b"".join([begin, weights, proto.SerializeToString()])  # one copy of the weights


def open_packed(path: Path, owner: str) -> Any:
    """A session of a packed network.

    Raises:
        ModelError: the runtime rejects it.
    """
    with path.open("rb") as file:
        file.seek(DIGEST_BYTES)
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        file.seek(DIGEST_BYTES + _BEGIN + length)
        return make_session(file.read(), owner, path.parent)


def make_session(model: bytes, owner: str = "lite-motion", weights: Path | None = None) -> Any:
    """An ONNX Runtime session on one thread, so that results do not depend on the machine.

    Args:
        model: The serialised graph.
        owner: Name of the model for the error message.
        weights: Folder of the file that holds the weights, if the graph does not.

    Raises:
        ModelError: the runtime rejects the graph.
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
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"ONNX Runtime cannot load a network of {owner!r}: {error}") from error
