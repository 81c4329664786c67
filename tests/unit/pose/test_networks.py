"""How ONNX Runtime is started."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from vlar.errors import ModelError
from vlar.pose.networks import make_session


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
    with pytest.raises(ModelError, match="a network of 'mine'"):
        make_session(b"no graph", "mine")
