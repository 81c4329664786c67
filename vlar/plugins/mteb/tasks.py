"""mteb's tasks over a labelled folder or table: zero-shot, classification, retrieval both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import SupportError, UsageError
from vlar.heads.support import SupportItem, read_support
from vlar.language.clean import clean_label
from vlar.plugins.mteb.encoder import OWN, VlarEncoder
from vlar.types import Failure

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# mteb comes with an extra, so a checkout may lack it.


KINDS = ("zero-shot", "classification", "text-to-video", "video-to-text")
TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class OwnClips:
    """N clips of C labels.

    Attributes:
        name: Name of the data, for names of tasks.
        source: The folder or table.
        items: N examples, one label each.
        labels: C labels as the data spell them, sorted.
        texts: C labels as a text tower reads them.
        failed: Clips that cannot be read; they are in no task.
    """

    name: str
    source: Path
    items: tuple[SupportItem, ...]
    labels: tuple[str, ...]
    texts: tuple[str, ...]
    failed: tuple[Failure, ...] = ()

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """(N,) column of the label of each clip."""
        return np.array([self.labels.index(item.label) for item in self.items], np.int64)

    @property
    def half(self) -> npt.NDArray[np.int64]:
        """(N,) 0 to train on, 1 to test on; every second group by name, so groups stay whole."""
        groups = sorted({item.group for item in self.items})
        return np.array([groups.index(item.group) % 2 for item in self.items], np.int64)

    def videos(self, rows: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Clips as ``VlarEncoder.encode_videos`` takes them."""
        items = self.items if rows is None else [self.items[row] for row in rows]
        return [
            {
                "path": str(item.path),
                "start_s": item.window.start_s if item.window else None,
                "end_s": item.window.end_s if item.window else None,
            }
            for item in items
        ]


def read_own(source: str | Path, encoder: VlarEncoder | None = None) -> OwnClips:
    """The clips of a folder (one folder a label) or a CSV (``path,label[,group]``).

    Args:
        source: As for ``vlar adapt``.
        encoder: Encodes every clip now, so that one that cannot be read is named and left out.

    Raises:
        SupportError: its clips or labels cannot be used, or none can be read.
    """
    support = read_support(source)
    items = list(support.items)
    failed: list[Failure] = []
    if encoder is not None:
        before = len(encoder.failures)
        whole = _clips(support.source, items, failed)
        encoder.encode_videos(whole.videos())
        failed = encoder.failures[before:]
        bad = {failure.path for failure in failed}
        items = [item for item in items if item.path not in bad]
    if len({item.label for item in items}) < 2:
        raise SupportError(
            f"{source}: {len(failed)} of {len(support.items)} clips cannot be read and fewer than "
            "two labels are left; run 'vlar check' on the folder"
        )
    return _clips(support.source, items, failed)


def _clips(source: Path, items: Sequence[SupportItem], failed: Sequence[Failure]) -> OwnClips:
    labels = tuple(sorted({item.label for item in items}))
    texts = tuple(clean_label(label) for label in labels)
    stem = "".join(part.capitalize() for part in source.stem.replace("-", "_").split("_"))
    return OwnClips(stem or "Own", source, tuple(items), labels, texts, tuple(failed))


def own_tasks(clips: OwnClips | str | Path, kinds: Sequence[str] = KINDS) -> list[Any]:
    """Tasks for ``mteb.evaluate``.

    Args:
        clips: From ``read_own``, or its source.
        kinds: ``zero-shot``: the best label by cosine. ``classification``: a logistic regression
            on the clips of every second group, tested on the others. ``text-to-video``: labels
            find clips. ``video-to-text``: clips find labels.

    Raises:
        UsageError: a kind does not exist, or the data do not allow it.
    """
    data = clips if isinstance(clips, OwnClips) else read_own(clips)
    makers = {
        "zero-shot": _zero_shot,
        "classification": _classification,
        "text-to-video": _text_to_video,
        "video-to-text": _video_to_text,
    }
    for kind in kinds:
        if kind not in makers:
            raise UsageError(f"task {kind!r} does not exist; use one of {', '.join(KINDS)}")
    return [makers[kind](data) for kind in kinds]


def train_and_test(data: OwnClips) -> tuple[list[int], list[int]]:
    """Rows of the two halves, of the labels that both show.

    Raises:
        UsageError: fewer than two labels have clips in both.
    """
    truth, half = data.truth, data.half
    shared = set(truth[half == 0]) & set(truth[half == 1])
    if len(shared) < 2:
        raise UsageError(
            f"{data.source}: {len(shared)} labels have clips in both halves of the groups; "
            "a classification needs two, so give more clips or more groups a label"
        )
    rows = np.isin(truth, list(shared))
    return np.flatnonzero(rows & (half == 0)).tolist(), np.flatnonzero(rows & (half == 1)).tolist()


def _metadata(data: OwnClips, what: str, kind: str, category: str, score: str) -> Any:
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name=f"{data.name}{what}",
        description=f"{len(data.items)} clips of {len(data.labels)} labels from a user's own data.",
        dataset={"path": str(data.source), "revision": OWN},
        type=kind,  # type: ignore[arg-type]
        category=category,  # type: ignore[arg-type]
        modalities=["video", "text"] if "t" in category else ["video"],
        eval_splits=[TEST],
        eval_langs=["eng-Latn"],
        main_score=score,
    )


def _zero_shot(data: OwnClips) -> Any:
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification

    class ZeroShot(AbsTaskZeroShotClassification):
        metadata = _metadata(data, "ZeroShot", "VideoZeroshotClassification", "v2t", "accuracy")
        input_column_name = "video"

        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            rows = {"video": data.videos(), "label": data.truth.tolist()}
            self.dataset = DatasetDict({TEST: Dataset.from_dict(rows)})  # type: ignore[assignment]
            self.data_loaded = True

        def get_candidate_labels(self) -> list[str]:
            return list(data.texts)

    return ZeroShot()


def _classification(data: OwnClips) -> Any:
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.classification import AbsTaskClassification

    train, test = train_and_test(data)

    class Classification(AbsTaskClassification):
        metadata = _metadata(data, "Classification", "VideoClassification", "v2c", "accuracy")
        input_column_name = "video"
        samples_per_label = len(train)  # every training clip, so that no draw moves the figure
        n_experiments = 1

        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            parts = {TRAIN: train, TEST: test}
            self.dataset = DatasetDict(  # type: ignore[assignment]
                {
                    name: Dataset.from_dict(
                        {"video": data.videos(rows), "label": data.truth[rows].tolist()}
                    )
                    for name, rows in parts.items()
                }
            )
            self.data_loaded = True

    return Classification()


def _text_to_video(data: OwnClips) -> Any:
    relevant = {
        f"label{column}": {f"clip{row}": 1 for row in np.flatnonzero(data.truth == column)}
        for column in range(len(data.labels))
    }
    return _retrieval(data, "TextToVideo", "t2v", _texts(data), _corpus(data), relevant)


def _video_to_text(data: OwnClips) -> Any:
    relevant = {f"clip{row}": {f"label{column}": 1} for row, column in enumerate(data.truth)}
    return _retrieval(data, "VideoToText", "v2t", _corpus(data), _texts(data), relevant)


def _texts(data: OwnClips) -> dict[str, list[Any]]:
    return {"id": [f"label{c}" for c in range(len(data.labels))], "text": list(data.texts)}


def _corpus(data: OwnClips) -> dict[str, list[Any]]:
    return {"id": [f"clip{row}" for row in range(len(data.items))], "video": data.videos()}


def _retrieval(
    data: OwnClips,
    what: str,
    category: str,
    queries: dict[str, list[Any]],
    corpus: dict[str, list[Any]],
    relevant: dict[str, dict[str, int]],
) -> Any:
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    # The last cut holds the whole corpus: a full ranking, as average precision is defined.
    deepest = max(1000, len(corpus["id"]))

    class Retrieval(AbsTaskRetrieval):
        metadata = _metadata(data, what, "Any2AnyRetrieval", category, f"map_at_{deepest}")
        k_values = tuple(sorted({1, 5, 10, deepest}))

        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            split = {
                "queries": Dataset.from_dict(queries),
                "corpus": Dataset.from_dict(corpus),
                "relevant_docs": relevant,
                "top_ranked": None,
            }
            self.dataset = {"default": {TEST: split}}  # type: ignore[dict-item]
            self.data_loaded = True

    return Retrieval()
