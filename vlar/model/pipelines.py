"""Models in the form of the pipelines of transformers: a task's name, a call, plain lists of dicts.

Scores are the model's probabilities. What is missing to 1 is ``unknown``: the recording shows none
of the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from vlar.errors import UsageError
from vlar.model.inputs import Recording, is_one
from vlar.model.model import Model, load
from vlar.registry import unknown_name
from vlar.results import Results
from vlar.types import Classification

Scores = list[dict[str, Any]]


def pipeline(
    task: str, model: str | Path | Model | None = None, *, device: str | None = None
) -> Callable[..., Any]:
    """A task as a function.

    Args:
        task: ``zero-shot-video-classification`` takes recordings and ``candidate_labels``,
            ``video-classification`` recordings alone, ``video-text-retrieval`` a text and
            ``videos``.
        model: A model or its name; None for ``lite``. ``video-classification`` needs one that has
            labels of its own.
        device: As ``vlar.load``.

    Returns:
        A function that gives a list of ``{"label", "score"}`` of a recording, best first, and a
        list of these lists of several; of a text, a list of ``{"video", "score"}``.

    Raises:
        UsageError: the task does not exist, or the model has no labels.
    """
    if task not in _TASKS:
        raise unknown_name("task", task, _TASKS)
    chosen = model if isinstance(model, Model) else load(model or "lite", device=device)
    return _TASKS[task](chosen)


def _zero_shot(model: Model) -> Callable[..., Any]:
    def classify(
        videos: Recording | Iterable[Recording],
        candidate_labels: str | Sequence[str] = "",
        *,
        multi_label: bool = False,
        top_k: int | None = None,
        **options: Any,
    ) -> Scores | list[Scores]:
        """Scores of candidate labels.

        Args:
            videos: One or several recordings, as ``Model.classify`` takes them.
            candidate_labels: A list, or a text with commas.
            multi_label: Whether each label has a probability of its own.
            top_k: How many labels to return; None for all.
            options: Further options of ``Model.classify``.
        """
        if not candidate_labels:
            raise UsageError("zero-shot-video-classification needs candidate_labels: 'a, b, c'")
        texts = candidate_labels
        labels = texts.split(",") if isinstance(texts, str) else list(texts)
        mode = "multi" if multi_label else "one"
        # One label alone would be a yes/no question, whose answers have other names.
        options |= {"mode": "multi"} if len(labels) == 1 else {"mode": mode}
        return _answers(model, videos, {"labels": labels, "top": top_k or len(labels), **options})

    return classify


def _own_labels(model: Model) -> Callable[..., Any]:
    if not model.default_labels:
        raise UsageError(
            f"model {model.name!r} has no labels of its own; give an adapted model, or use the "
            "task zero-shot-video-classification"
        )

    def classify(
        videos: Recording | Iterable[Recording], *, top_k: int = 5, **options: Any
    ) -> Scores | list[Scores]:
        """Scores of the model's labels.

        Args:
            videos: One or several recordings, as ``Model.classify`` takes them.
            top_k: How many labels to return.
            options: Further options of ``Model.classify``.
        """
        return _answers(model, videos, {"top": top_k, **options})

    return classify


def _answers(model: Model, videos: Any, options: dict[str, Any]) -> Scores | list[Scores]:
    if is_one(videos):
        return _scores(cast("Classification", model.classify(videos, **options)))
    answers = Results(model.classify(iter(cast("Iterable[Recording]", videos)), **options))
    for answer in answers:
        if not isinstance(answer, Classification):
            raise UsageError(f"{answer.message}; leave it out")
    return [_scores(answer) for answer in answers if isinstance(answer, Classification)]


def _scores(answer: Classification) -> Scores:
    return [{"label": row.label, "score": row.probability} for row in answer.predictions]


def _retrieval(model: Model) -> Callable[..., Any]:
    def search(text: str, videos: Sequence[Recording], *, top_k: int | None = None) -> Scores:
        """Recordings by how well they fit a text.

        Args:
            text: A phrase.
            videos: Recordings, as ``Model.classify`` takes them.
            top_k: How many to return; None for all.
        """
        listed = list(videos)
        vectors = model.encode_video(listed)
        scores = model.words.match_probability(vectors, model.encode_text(text, role="query"))
        rows = sorted(zip(listed, scores.tolist(), strict=True), key=lambda row: -row[1])
        return [{"video": video, "score": score} for video, score in rows[:top_k]]

    return search


_TASKS = {
    "zero-shot-video-classification": _zero_shot,
    "video-classification": _own_labels,
    "video-text-retrieval": _retrieval,
}
