"""Run own-data tasks through mteb, with next to vlar's own figures of the same tasks."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlar.errors import UsageError
from vlar.metrics.classification import KS, macro_accuracy, retrieval, top_k
from vlar.plugins.mteb.encoder import VlarEncoder
from vlar.plugins.mteb.tasks import KINDS, OwnClips, own_tasks, train_and_test
from vlar.types import Float32, JsonDict

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# mteb comes with an extra, so a checkout may lack it.


@dataclass(frozen=True)
class TaskRun:
    """One task of mteb on own data.

    Attributes:
        task: Its name in mteb.
        kind: One of ``KINDS``; ``mteb`` for a task of its own.
        sampler: Who picked the frames.
        n: Clips that the figures are of.
        mteb: mteb's figures, by vlar's names.
        vlar: vlar's figures of the same vectors; none for a task of mteb's own.
        seen: The mean share of a recording between its first and last frame; mteb's sampler only.
    """

    task: str
    kind: str
    sampler: str
    n: int
    mteb: Mapping[str, float]
    vlar: Mapping[str, float]
    seen: float | None = None

    @property
    def difference(self) -> float:
        """The largest difference of the two; mteb rounds some figures to five decimals."""
        return max((abs(self.mteb[name] - self.vlar[name]) for name in self.vlar), default=0.0)

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return {
            "task": self.task,
            "kind": self.kind,
            "sampler": self.sampler,
            "n": self.n,
            "mteb": dict(self.mteb),
            "vlar": dict(self.vlar),
            "difference": self.difference,
            **({} if self.seen is None else {"seen": self.seen}),
        }


def run_tasks(
    encoder: VlarEncoder, data: OwnClips, kinds: Sequence[str] = KINDS
) -> Iterator[TaskRun]:
    """Run tasks one after the other; nothing is fetched and nothing is cached on disk."""
    for kind, task in zip(kinds, own_tasks(data, kinds), strict=True):
        scores = _scores(encoder, task)
        shares = [encoder.seen[str(item.path)] for item in data.items if encoder.seen]
        yield TaskRun(
            task.metadata.name,
            kind,
            encoder.sampler,
            len(train_and_test(data)[1]) if kind == "classification" else len(data.items),
            {ours: float(scores[theirs]) for ours, theirs in _names(kind, scores).items()},
            _own_figures(kind, encoder, data),
            float(np.mean(shares)) if shares else None,
        )


def run_named(encoder: VlarEncoder, name: str) -> TaskRun:
    """Run a task of mteb's own; it fetches its data.

    Raises:
        UsageError: mteb has no such task, or its data or its modalities do not fit.
    """
    import mteb

    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise UsageError(
            f"task {name!r} does not exist in mteb and is not one of {', '.join(KINDS)}"
        ) from error
    try:
        scores = _scores(encoder, task)
    except (ValueError, OSError) as error:
        raise UsageError(f"task {name!r} of mteb cannot be run: {error}") from error
    scores_by_name = {task.metadata.main_score: float(scores["main_score"])}
    shares = list(encoder.seen.values())
    mean = float(np.mean(shares)) if shares else None
    return TaskRun(name, "mteb", encoder.sampler, encoder.n_encoded, scores_by_name, {}, mean)


def _scores(encoder: VlarEncoder, task: Any) -> Mapping[str, Any]:
    import mteb

    with _quiet():
        result = mteb.evaluate(
            encoder,  # type: ignore[arg-type]  # it has what EncoderProtocol asks for
            task,
            cache=None,
            co2_tracker=False,
            show_progress_bar=False,
        )
    return next(iter(result.task_results[0].scores.values()))[0]


def _names(kind: str, scores: Mapping[str, Any]) -> dict[str, str]:
    """Our names of figures to mteb's."""
    if kind in ("zero-shot", "classification"):
        return {"top1": "accuracy", "macro": "recall"}
    deepest = max(int(name.removeprefix("map_at_")) for name in scores if name.startswith("map_at"))
    return {**{f"R@{k}": f"hit_rate_at_{k}" for k in KS}, "mAP": f"map_at_{deepest}"}


def _own_figures(kind: str, encoder: VlarEncoder, data: OwnClips) -> dict[str, float]:
    """The same task, scored by ``vlar.evaluation``."""
    videos, truth = encoder.encode_videos(data.videos()), data.truth
    if kind == "classification":
        return _classified(videos, data)
    scores = videos @ encoder.model.encode_queries(data.texts).T
    if kind == "zero-shot":
        right = scores.argmax(axis=1) == truth
        return {"top1": top_k(scores, truth), "macro": macro_accuracy(right, truth)}
    relevant = truth[:, None] == np.arange(len(data.labels))[None]
    to_text = kind == "video-to-text"
    figures = retrieval(scores if to_text else scores.T, relevant if to_text else relevant.T)
    return {name: value for name, value in figures.items() if name != "median_rank"}


def _classified(videos: Float32, data: OwnClips) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression

    train, test = train_and_test(data)
    fitted = LogisticRegression(max_iter=100).fit(videos[train], data.truth[train])
    right = fitted.predict(videos[test]) == data.truth[test]
    return {"top1": float(right.mean()), "macro": macro_accuracy(right, data.truth[test])}


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Both libraries report on stderr; figures are what a user asked for."""
    from datasets import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled

    names = ("mteb", "datasets")
    bars = is_progress_bar_enabled()
    disable_progress_bars()
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if bars:
            enable_progress_bars()
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
