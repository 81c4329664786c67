"""Answers on disk, so that no question is paid for twice, also after a killed run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np

from vlar import resources
from vlar.answering.base import Answer, Answerer, Shown
from vlar.answering.question import Question
from vlar.types import JsonDict

_FOLDER = "answers"
_FORMAT = 1


def cached_answer(answerer: Answerer, shown: Shown, question: Question) -> Answer | None:
    """The answer that was given to this question about this clip before; None without one."""
    data = _read(_path(answerer, shown, question)) if answerer.cached else None
    if data is None:
        return None
    probability, text = data.get("probability"), data.get("text")
    if isinstance(probability, list):
        try:
            values = np.array(cast("list[Any]", probability), np.float64)
        except (ValueError, TypeError):
            return None
        if values.shape != (len(question),) or not np.isfinite(values).all():
            return None
        return Answer(values)
    return Answer(text=text) if isinstance(text, str) else None


def keep_answer(answerer: Answerer, shown: Shown, question: Question, answer: Answer) -> None:
    """Keep an answer. A cache that cannot be written costs a question, never the answer."""
    if not answerer.cached:
        return
    path = _path(answerer, shown, question)
    given = answer.probability
    data: JsonDict = {"text": answer.text} if given is None else {"probability": given.tolist()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(data), encoding="utf-8")
        temporary.replace(path)


def _path(answerer: Answerer, shown: Shown, question: Question) -> Path:
    facts = [_FORMAT, answerer.identity, shown.key, question.text(), list(question.options)]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return resources.cache_dir() / _FOLDER / name[:2] / f"{name[:40]}.json"


def _read(path: Path) -> JsonDict | None:
    try:
        data: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return cast("JsonDict", data) if isinstance(data, dict) else None
