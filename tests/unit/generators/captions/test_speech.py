"""Words in sound: the plumbing from sound to captions, on a tiny model that hears nothing."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.generators.captions.tiny import save_whisper
from vlar.encoders.captions import load_captioner
from vlar.encoders.catalogue import entries, resolve
from vlar.errors import ModelError, UsageError
from vlar.generators.captions import speech
from vlar.generators.captions.speech import SpeechCaptioner, has_sound
from vlar.media.readers.audio import decode, decode_span
from vlar.types import Clip, Window

RATE = 16_000


def sound(path: Path, *pieces: tuple[float, float], rate: int = RATE) -> Path:
    """A file of tones: seconds and loudness (0 to 1) of each piece."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for seconds, loudness in pieces:
            times_s = np.arange(round(seconds * rate)) / rate
            tone = loudness * np.sin(2 * np.pi * 60 * times_s)
            file.writeframes((32767 * tone).astype("<i2").tobytes())
    return path


def clip(path: Path, start_s: float, end_s: float) -> Clip:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    return Clip(path, Window(start_s, end_s), "video", frames, np.zeros(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
def captioner(folder: Path) -> SpeechCaptioner:
    return SpeechCaptioner.from_spec(str(folder))


def test_a_tiny_model_writes_words_with_times_and_language(
    captioner: SpeechCaptioner, tmp_path: Path
):
    path = sound(tmp_path / "a.wav", (4, 0.3))
    ((found,),) = captioner.caption([clip(path, 1, 3)])
    assert found == 'says (de, 0.0-4.0 s): "hhhhhhhhhhhhhhhhhhhh"'


def test_a_model_of_english_alone_is_not_asked_for_a_language(tmp_path: Path):
    made = SpeechCaptioner.from_spec(str(save_whisper(tmp_path / "en", multilingual=False)))
    ((found,),) = made.caption([clip(sound(tmp_path / "a.wav", (2, 0.3)), 0, 2)])
    assert found.startswith("says (en, ")


Heard = list[float]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """The lengths of what is transcribed; every chunk says two words at 1 to 2 and 3 to 4 s."""
    lengths: Heard = []

    def generated(processor: Any, model: Any, samples: Any) -> tuple[Any, str]:
        lengths.append(len(samples) / RATE)
        ids: Callable[[str], int] = processor.tokenizer.convert_tokens_to_ids
        words: list[int] = []
        for begin, text in (("<|1.00|>", ["h", "i"]), ("<|3.00|>", ["y", '"', "o"])):
            end = {"<|1.00|>": "<|2.00|>", "<|3.00|>": "<|4.00|>"}[begin]
            words += [ids(begin), *map(ids, text), ids(end)]
        return words, "en"

    monkeypatch.setattr(speech, "_generated", generated)
    return lengths


def test_words_belong_to_the_windows_in_which_they_are_said(
    captioner: SpeechCaptioner, heard: Heard, tmp_path: Path
):
    path = sound(tmp_path / "a.wav", (35, 0.3))
    spans = [(0, 1), (0.5, 1.5), (1.5, 3.5), (4, 30), (30.5, 35)]
    found = captioner.caption([clip(path, *span) for span in spans])
    first, second = 'says (en, 1.0-2.0 s): "hi"', 'says (en, 3.0-4.0 s): "y\'o"'
    later = ('says (en, 31.0-32.0 s): "hi"', 'says (en, 33.0-34.0 s): "y\'o"')
    assert found == [(), (first,), (first, second), (), later]
    assert heard == [30.0, 5.0]  # each chunk once


def test_silence_is_not_transcribed(captioner: SpeechCaptioner, heard: Heard, tmp_path: Path):
    quiet = sound(tmp_path / "quiet.wav", (3, 0.0), (3, 0.0005))
    assert captioner.caption([clip(quiet, 0, 6), clip(tmp_path / "gone.wav", 0, 6)]) == [(), ()]
    assert heard == []
    assert has_sound(np.full(1600, 0.01, np.float32))
    assert not has_sound(np.full(800, 0.01, np.float32))  # shorter than a block


def test_what_has_no_sound_has_no_words(captioner: SpeechCaptioner, heard: Heard, tmp_path: Path):
    from vlar.media.lookup import reader

    silent = reader("video").example(tmp_path)
    (tmp_path / "b.wav").write_text("RIFF is no sound")
    found = captioner.caption([clip(silent, 0, 2), clip(tmp_path / "b.wav", 0, 2)])
    assert (found, heard) == ([(), ()], [])


def test_ten_hours_take_the_memory_of_a_chunk(
    captioner: SpeechCaptioner, heard: Heard, tmp_path: Path
):
    path = sound(tmp_path / "long.wav", *[(3590, 0.0), (10, 0.3)] * 10, rate=200)
    samples = decode_span(path, 35_990.0, 36_020.0, 20.0)
    assert 9.9 < len(samples) / RATE <= 10.1
    assert samples.nbytes < 1e6
    (found,) = captioner.caption([clip(path, 35_972.5, 36_000)])
    assert found == ('says (en, 35973.0-35974.0 s): "y\'o"',)
    assert heard == [30.0]
    captioner.caption([clip(path, 0, 400)])  # 14 chunks
    assert len(captioner._kept._values) == 8


@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 30.0), (1.0, 2.0), (2.5, 9.0), (9.0, 12.0)])
def test_a_span_is_that_of_the_whole(start_s: float, end_s: float, tmp_path: Path):
    path = sound(tmp_path / "a.wav", (1, 0.1), (1, 0.5), (1.5, 0.2))
    whole = decode(path, 10.0)[round(start_s * RATE) : round(end_s * RATE)]
    np.testing.assert_allclose(decode_span(path, start_s, end_s, 10.0), whole, atol=1e-6)


def test_models_of_the_catalogue(folder: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [row for row in entries().values() if row.spec.startswith("speech:")]
    assert {row.alias for row in rows} == {"whisper-tiny", "whisper-base", "whisper-small"}
    assert all(row.revision and not row.is_encoder for row in rows)
    asked: list[Any] = []

    def cached(repository: str, names: Any, revision: str | None = None) -> Path:
        asked.append((repository, revision))
        return folder / "config.json"

    monkeypatch.setattr(speech, "cached", cached)
    for row in rows:
        assert load_captioner(f"speech:{row.alias}").name == f"speech:{row.alias}"
        load_captioner(row.full_spec)
    assert asked == [pair for row in rows for pair in [(row.hub_name, row.revision)] * 2]


def test_a_model_in_the_cache_of_the_hub_is_loaded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    row = entries()["whisper-tiny"]
    there = tmp_path / "models--openai--whisper-tiny"
    snapshot = there / "snapshots" / str(row.revision)
    (there / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):  # links to blobs, as the hub's client
        (there / "blobs" / str(number)).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(there / "blobs" / str(number))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert row.is_here()
    made = load_captioner("speech:whisper-tiny")
    ((found,),) = made.caption([clip(sound(tmp_path / "a.wav", (4, 0.3)), 1, 3)])
    assert found.startswith("says (de, 0.0-4.0 s)")


def test_what_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speech, "cached", lambda *_: None)
    refused(ModelError, "run: vlar models get whisper-tiny", load_captioner, "speech:whisper-tiny")
    refused(ModelError, "use --captions speech:whisper-tiny", resolve, "whisper-tiny")
    for spec in ("speech:", f"speech:{tmp_path}", "speech:nothing", "speech:\0"):
        refused(UsageError, "is neither a folder with a Whisper model", load_captioner, spec)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    path = sound(tmp_path / "a.wav", (2, 0.3))
    broken = load_captioner(f"speech:{tmp_path}")
    refused(ModelError, "cannot be loaded", broken.caption, [clip(path, 0, 2)])


def test_the_tiny_model_has_the_layout_of_the_published_one(folder: Path):
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    tiny = WhisperForConditionalGeneration.from_pretrained(folder)
    with torch.device("meta"):
        published = WhisperForConditionalGeneration(WhisperConfig())  # the sizes of whisper-tiny
        shallow = WhisperForConditionalGeneration(WhisperConfig(encoder_layers=2, decoder_layers=2))
    assert sum(value.numel() for value in published.parameters()) == 37_760_640
    assert tiny.state_dict().keys() == shallow.state_dict().keys()


@pytest.mark.slow
def test_a_spoken_sentence_is_written(folder: Path, tmp_path: Path):
    """A tiny network that learned two sentences writes each where it is said, and not the other."""
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    spoken = {"door": "opens the door", "bread": "cuts the bread"}
    home = Path(__file__).parents[3] / "golden" / "speech"
    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    torch.manual_seed(0)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.1) if value.ndim > 1 else value.data.zero_()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.ones_(module.weight)
    ids = processor.tokenizer.convert_tokens_to_ids
    marks = ids(["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|0.00|>"])
    features, tokens = [], []
    for name, text in spoken.items():
        sound_read = decode(home / f"{name}.ogg", 10.0)
        features.append(processor(sound_read, sampling_rate=RATE, return_tensors="pt"))
        letters = processor.tokenizer(text, add_special_tokens=False).input_ids
        tokens.append([*marks, *letters, *ids(["<|1.00|>", "<|endoftext|>"])])
    pixels = torch.cat([row["input_features"] for row in features])
    rows = torch.tensor(tokens)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        logits = model(input_features=pixels, decoder_input_ids=rows[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
    for part in (model.eval(), processor):
        part.save_pretrained(tmp_path)
    captioner = SpeechCaptioner.from_spec(str(tmp_path))
    for name, text in spoken.items():
        ((caption,),) = captioner.caption([clip(home / f"{name}.ogg", 0, 1)])
        assert caption.startswith("says (en, 0.0-")
        assert caption.endswith(f'"{text}"')
