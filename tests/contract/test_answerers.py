"""What every registered answerer must keep to.

Each needs a stand-in for what it asks: a chat server, or a model with random weights.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.evaluation import colours
from tests.unit.generators.descriptions.chat_server import chat_server, message
from tests.unit.generators.opinions.tiny_vlm import save_tiny_vlm
from vlar import registry
from vlar.files import resources
from vlar.generators.opinions.question import Question
from vlar.testing import check_answerer

QUESTION = Question(("red right", "blue left", "green left"))
SHIPPED = [name for name in registry.names("answerer") if not name.startswith("test-")]


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vlm(tmp_path_factory.mktemp("contract") / "tiny")


@pytest.mark.parametrize("name", SHIPPED)
def test_it_keeps_the_contract(
    name: str, tmp_path: Path, vlm: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resources, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr("vlar.model.model.load", lambda _: colours.model())
    arguments = {
        "self": "any",
        "local": f"{vlm}?frames=2",
        "openai": "m",
    }
    with chat_server(lambda *_: message("B. blue left")) as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        check_answerer(name, argument=arguments[name])
