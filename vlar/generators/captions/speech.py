"""``speech:MODEL``: words in the sound of a recording, by a Whisper model of transformers.

The sound is read from the recording itself, in chunks of 30 s on a fixed grid: a recording of ten
hours takes the memory of one chunk. Words at an edge of a chunk may be cut. A chunk without sound
is not transcribed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vlar.encoders.captions import Captioner, Captions, quote
from vlar.encoders.catalogue import entries
from vlar.encoders.clip.options import cached
from vlar.encoders.spec import split_options
from vlar.errors import DecodeError, ModelError, UsageError
from vlar.files.recent import Recent
from vlar.files.workers import single
from vlar.files.workers.process import FileLimits
from vlar.generators.backends import LocalModel
from vlar.media.readers.audio import RATE_HZ, decode_span
from vlar.registry import register
from vlar.types import Clip, Float32, Sampling

_CHUNK_S = 30.0  # of sound, which Whisper takes at once
_LEAST_RMS = 1e-3  # of a tenth of a second that counts as sound: -60 dB of full scale
_STEP_S = 0.02  # between Whisper's marks of time
_BLOCK = round(RATE_HZ / 10)
_KEPT_CHUNKS = 8  # overlapping windows of a batch ask for the same chunks again
#: Begin and end in seconds of the recording, words, and the code of their language.
Segment = tuple[float, float, str, str]


@register("captioner", "speech")
class SpeechCaptioner(Captioner):
    """A Whisper model in a folder, with its processor; weights as safetensors."""

    licence = "as the model's folder states"

    def __init__(self, folder: Path, name: str) -> None:
        self._model = LocalModel(
            folder,
            ("WhisperProcessor", "WhisperForConditionalGeneration"),
            "speech model",
            "give the folder of a Whisper model with its processor and safetensors",
            use_safetensors=True,
        )
        self._kept = Recent(_KEPT_CHUNKS)
        self.name = name
        facts = f"{self._model.digest} {_CHUNK_S} {_LEAST_RMS} 1"
        self.fingerprint = hashlib.sha256(facts.encode()).hexdigest()

    @classmethod
    def from_spec(cls, argument: str) -> SpeechCaptioner:
        """The model in a folder, or one of the catalogue: ``whisper-tiny``."""
        name = f"speech:{argument}"
        if argument and (Path(argument).expanduser() / "config.json").is_file():
            return cls(Path(argument).expanduser(), name)
        target, options = split_options(argument, ("revision",))
        rows = {row.alias: row for row in entries().values() if row.spec.startswith("speech:")}
        row = rows.get(target) or next((r for r in rows.values() if r.hub_name == target), None)
        if row is None:
            raise UsageError(
                f"{name} is neither a folder with a Whisper model (config.json, weights, "
                f"processor) nor one of {', '.join(rows)}"
            )
        config = cached(row.hub_name, ("config.json",), options.get("revision", row.revision))
        if config is None:
            raise ModelError(f"{name} is not here; run: vlar models get {row.alias}")
        return cls(config.parent, name)

    @property
    def sampling(self) -> Sampling:
        return Sampling(1)

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        """Words in the sound of each window; none of a recording without sound."""
        return [self._of(clip) for clip in clips]

    def _of(self, clip: Clip) -> Captions:
        start_s, end_s = clip.window.start_s, clip.window.end_s
        chunks = range(int(start_s // _CHUNK_S), math.ceil(end_s / _CHUNK_S))
        words = chain.from_iterable(self._segments(clip.path, number) for number in chunks)
        return tuple(
            quote("says", *word) for word in words if word[0] < end_s and word[1] > start_s
        )

    def _segments(self, path: Path, number: int) -> list[Segment]:
        """The words of one chunk of a recording; those of the last chunks are kept."""
        try:
            status = path.stat()
        except (OSError, ValueError):
            return []
        key = path, status.st_mtime_ns, status.st_size, number
        return self._kept.keep(key, lambda: self._chunk(path, number * _CHUNK_S))

    def _chunk(self, path: Path, start_s: float) -> list[Segment]:
        """The words of a chunk from a start on."""
        limit_s = FileLimits.from_environment().timeout_s
        try:
            sound = single.call(path, decode_span, path, start_s, start_s + _CHUNK_S, limit_s)
        except DecodeError:  # no sound track, or none that can be read
            return []
        return self._words(sound, start_s) if has_sound(sound) else []

    def _words(self, sound: Float32, start_s: float) -> list[Segment]:
        with self._model.use(_failed) as (processor, model):
            ids, language = _generated(processor, model, sound)
            timed_words = _timed(processor.tokenizer, ids)
        length_s = len(sound) / RATE_HZ
        return [
            (start_s + begin_s, start_s + min(end_s, length_s), text, language)
            for begin_s, end_s, text in timed_words
            if begin_s < min(end_s, length_s) and any(map(str.isalnum, text))
        ]


def has_sound(samples: Float32) -> bool:
    """Return whether any tenth of a second of (N,) samples at 16 kHz is as loud as -60 dB."""
    blocks = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    return bool(len(blocks)) and float(np.square(blocks).mean(axis=1).max()) >= _LEAST_RMS**2


def _generated(processor: Any, model: Any, sound: Float32) -> tuple[Any, str]:
    """(L,) token ids with timestamps of up to 30 s of sound, and the code of its language."""
    inputs = processor(sound, sampling_rate=round(RATE_HZ), return_tensors="pt")
    features = inputs["input_features"].to(model.device)
    options: dict[str, Any] = {}
    language = "en"  # models that are not multilingual know English
    if getattr(model.generation_config, "is_multilingual", False):
        token = int(model.detect_language(features)[0])
        language = processor.tokenizer.convert_ids_to_tokens(token).strip("<|>")
        options = {"language": language, "task": "transcribe"}
    ids = model.generate(features, return_timestamps=True, do_sample=False, **options)
    return ids[0].tolist(), language


def _timed(tokenizer: Any, ids: Sequence[int]) -> list[tuple[float, float, str]]:
    """Begin, end and text between the marks of time of a chunk; without a last mark, to its end."""
    zero = int(tokenizer.convert_tokens_to_ids("<|0.00|>"))
    timed_words: list[tuple[float, float, str]] = []
    words: list[int] = []
    begin_s = 0.0
    for token in [*ids, zero + round(_CHUNK_S / _STEP_S)]:
        if token < zero:
            words.append(token)
            continue
        at_s = (token - zero) * _STEP_S
        if words:
            timed_words.append((begin_s, at_s, tokenizer.decode(words, skip_special_tokens=True)))
        words, begin_s = [], at_s
    return timed_words


def _failed(name: str, why: str) -> ModelError:
    return ModelError(f"{name} failed ({why}); is it a Whisper model?")
