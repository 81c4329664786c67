"""The real path of ``local:FOLDER``, on a tiny model with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.generators.opinions.test_asking import QUESTION, clip
from tests.unit.generators.opinions.tiny_vlm import save_tiny_vlm
from vlar.errors import UnknownNameError, UsageError
from vlar.generators.chat import NoAnswerError
from vlar.generators.opinions.asking import ask
from vlar.generators.opinions.base import MediaItem, load_answerer
from vlar.generators.opinions.question import Question


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vlm(tmp_path_factory.mktemp("vlm") / "tiny")


@pytest.mark.parametrize("options", ["", "?frames=2"])
def test_it_gives_the_probabilities_of_the_letters(folder: Path, options: str):
    judge = load_answerer(f"local:{folder}{options}")
    answer = judge.answer(MediaItem.of(clip()), QUESTION)
    assert answer.probability is not None
    assert answer.probability.shape == (4,)
    assert answer.probability.sum() == pytest.approx(1)
    assert answer.tokens_in > len("What does the clip show?")
    again = judge.answer(MediaItem.of(clip()), QUESTION)
    np.testing.assert_array_equal(answer.probability, again.probability)


def test_it_is_the_next_token_of_the_model_itself(folder: Path):
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    shots = [Image.fromarray(frame) for frame in clip().data]
    content = [*({"type": "image", "image": shot} for shot in shots)]
    content.append({"type": "text", "text": QUESTION.text(n_pictures=4, duration_s=1.0)})
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    with torch.inference_mode():
        logits = model(**inputs).logits[0, -1].double()
    letters = [processor.tokenizer.encode(x, add_special_tokens=False)[0] for x in "ABCD"]
    wanted = torch.softmax(logits[letters], 0).numpy()
    found = load_answerer(f"local:{folder}").answer(MediaItem.of(clip()), QUESTION).probability
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_frames_make_a_difference_and_rotations_are_averaged(folder: Path):
    judge = load_answerer(f"local:{folder}")
    one, other = (judge.answer(MediaItem.of(clip(seed)), QUESTION).probability for seed in (0, 1))
    assert one is not None
    assert not np.array_equal(one, other)
    found = ask(judge, clip(), QUESTION)
    assert found.asked == 4
    assert found.tokens_in > 0
    each = [judge.answer(MediaItem.of(clip()), QUESTION.rotated(n)).probability for n in range(4)]
    wanted = np.mean([np.roll(p, n) for n, p in enumerate(each)], axis=0)
    np.testing.assert_allclose(found.probability, wanted, atol=1e-12)


def test_a_question_that_is_too_long_or_has_its_own_pictures_gets_no_answer(folder: Path):
    judge = load_answerer(f"local:{folder}")
    found = ask(judge, clip(), Question(("run", "<image> of a walk")))  # a placeholder too many
    assert found.probability is None
    assert found.error is not None
    assert found.error[0] == "no_answer"


def test_another_sensor_is_refused(folder: Path):
    from dataclasses import replace

    signal = replace(clip(), data=np.zeros((10, 6), np.float32), modality="imu")
    with pytest.raises(NoAnswerError, match="sensor 'imu'; use self:MODEL"):
        load_answerer(f"local:{folder}").answer(MediaItem.of(signal), QUESTION)


def test_a_folder_that_is_not_such_a_model_is_named(folder: Path, tmp_path: Path):
    refused(UsageError, "is not a folder with a model", load_answerer, f"local:{tmp_path}")
    refused(UnknownNameError, "did you mean 'frames'", load_answerer, f"local:{folder}?frame=3")
    refused(UsageError, "give 1 to 64 pictures", load_answerer, f"local:{folder}?frames=0")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    found = ask(load_answerer(f"local:{tmp_path}"), clip(), QUESTION)
    assert found.final
    assert found.error is not None
    assert "cannot be loaded" in found.error[1]


def test_code_in_a_folder_never_runs(tmp_path: Path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}})
    )
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert ask(load_answerer(f"local:{tmp_path}"), clip(), QUESTION).final
    assert not (tmp_path / "ran").exists()


def test_a_model_without_a_chat_template_says_so(folder: Path, tmp_path: Path):
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "chat_template.jinja").unlink()
    found = ask(load_answerer(f"local:{bare}"), clip(), QUESTION)
    assert found.error is not None
    assert "no chat template" in found.error[1]
