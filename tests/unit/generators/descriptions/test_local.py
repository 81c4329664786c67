from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlar.generators.descriptions.run import describe
from vlar.language.bank import load_bank

from .chat_server import rows_for
from .tiny_model import save_tiny_model

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def short_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vlar.generators.descriptions.chat_describer._ANSWER_TOKENS", 2)


def says(content: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the model answer with these bytes; the questions it got are returned."""
    from transformers import LlamaForCausalLM

    questions: list[str] = []

    def generate(self: Any, ids: Any, **settings: Any) -> Any:
        import torch
        from transformers import AutoTokenizer

        assert settings["do_sample"] is False
        tokenizer = AutoTokenizer.from_pretrained(self.config._name_or_path)
        questions.append(tokenizer.decode(ids[0]))
        answer = tokenizer(content, return_tensors="pt")["input_ids"]
        return torch.cat([ids, answer], dim=1)

    monkeypatch.setattr(LlamaForCausalLM, "generate", generate)
    return questions


@pytest.mark.usefixtures("short_answers")
def test_random_weights_fail_label_by_label(folder: Path, tmp_path: Path):
    out = tmp_path / "bank.json"
    report = describe(["eat", "sleep"], out, llm=f"local:{folder}", kinds=["motion"])
    assert [row.found.label for row in report.failed] == ["eat", "sleep"]
    assert all("no usable description" in (row.problem or "") for row in report.failed)
    assert [len(e.descriptions) for e in load_bank(out).entries] == [0, 0]


def test_a_model_that_answers_fills_the_bank(folder: Path, monkeypatch: pytest.MonkeyPatch):
    questions = says(rows_for(["eat", "sleep"]), monkeypatch)
    report = describe(["eat", "sleep"], None, llm=f"local:{folder}")
    assert not report.failed
    assert "tiny" in report.bank.provenance["source"]
    assert "Labels:" in questions[0]
    assert questions[0].endswith("JSON:\n")  # no chat template: a text to be continued


def test_a_chat_template_is_used(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import shutil

    place = tmp_path / "chat"
    shutil.copytree(folder, place)
    (place / "chat_template.jinja").write_text(CHAT)
    questions = says(rows_for(["eat"]), monkeypatch)
    assert not describe(["eat"], None, llm=f"local:{place}").failed
    assert questions[0].startswith("<system>You describe human actions")
    assert questions[0].endswith("<assistant>")


def test_a_question_longer_than_the_model_reads(folder: Path, tmp_path: Path):
    import shutil

    place = tmp_path / "short"
    shutil.copytree(folder, place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 64}))
    (row,) = describe(["eat"], None, llm=f"local:{place}").failed
    assert "smaller --batch" in (row.problem or "")


def test_a_folder_that_does_not_load(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    rows = describe(["eat", "sleep", "run"], None, llm=f"local:{tmp_path}", batch=1).failed
    assert len(rows) == 3
    assert "cannot be loaded" in (rows[0].problem or "")
