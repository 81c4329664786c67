"""The process of one job: it changes a library or makes a model, and reports as it goes.

It reads one JSON line from its standard input and writes one JSON object a line. It ends when its
input closes, so it never outlives the server. Whatever ends it, finished recordings stay.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlar import registry
from vlar.errors import UsageError, VlarError, one_line
from vlar.files.opening import restrict
from vlar.library.rows import AddEvent
from vlar.types import JsonDict, Window

if TYPE_CHECKING:
    from vlar.model.model import Model

_NICE = 15  # answers come before jobs
_GRACE_S = 4.0
_MOST_ROWS = 200  # of a list in a report
Emit = Callable[[JsonDict], None]


def main() -> None:
    """Run the job that the first line of standard input describes."""
    # What a library prints must not mix with the events.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: JsonDict) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    job = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_watch, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(_NICE)
    restrict(job["roots"])
    try:
        report = _JOBS[job["kind"]](job, emit)
        emit({"event": "done", "report": report})
    except KeyboardInterrupt:
        emit({"event": "stopped"})
    except VlarError as error:
        emit({"event": "error", "message": error.message, "kind": error.kind})
    except Exception as error:  # noqa: BLE001 - the server names it
        text = one_line(f"unexpected {type(error).__name__}: {error}; start the job again")
        emit({"event": "error", "message": text, "kind": "internal"})


def _watch() -> None:
    """Stop when the server closes the pipe or is gone; where that takes too long, end at once."""
    sys.stdin.read()
    _thread.interrupt_main()
    threading.Event().wait(_GRACE_S)
    os._exit(1)


def _add(job: JsonDict, emit: Emit) -> JsonDict:
    from vlar.library.ingest.request import AddRequest
    from vlar.library.library import Library

    def progress(event: AddEvent) -> None:
        failure = None if event.failure is None else event.failure.message
        emit({"event": "progress", **event.to_dict(), "failure": failure, "part": event.part})

    is_placed = job.get("device") or job.get("dtype")  # else one that needs no model loads none
    model = _loaded(job, job["model"]) if is_placed else job["model"]  # None of an earlier server
    with Library(job["library"], model) as library:
        asked = AddRequest(job["paths"], job["tags"], progress=progress, served=True)
        earlier = {"retry": job.get("retry", False)}  # of a job that an older server left
        report = library.ingest(replace(asked, **job.get("options", earlier)))
    facts = report.to_dict()
    return {**facts, "failed": [row.message for row in report.failed]}


def _loaded(job: JsonDict, name: str) -> Model:
    """A model in the number type of the library, else of the card, as the server loads it."""
    from vlar.apps.cli.inputs import load_model

    library = job.get("library") or job["source"]
    return load_model(name, job.get("device"), job.get("dtype"), library)


def _adapt(job: JsonDict, emit: Emit) -> JsonDict:
    from vlar.heads.support import Support, SupportItem

    items = [_example(example, SupportItem) for example in job["examples"]]
    labels = tuple(sorted({item.label for item in items}))
    if len(labels) < 2:
        raise UsageError("only one label has examples; collect examples of at least two labels")
    model = _loaded(job, job["model"])
    support = Support(labels, tuple(items), Path(job["source"]))
    adapted = model.adapt(support, **job["options"], progress=_counted(emit))
    adapted.save(job["out"], replace=True)
    report = adapted.report
    return {
        "labels": list(labels),
        "sentence": report.sentence(),
        "examples": len(report.examples),
        "failed": [row.message for row in report.failed],
    }


def _evaluate(job: JsonDict, emit: Emit) -> JsonDict:
    from vlar.heads.support import Support, SupportItem
    from vlar.metrics.comparison import compare

    videos = {example["path"]: example["video"] for example in job["examples"]}
    items = [_example({"start_s": None, "end_s": None, **e}, SupportItem) for e in job["examples"]]
    labels = tuple(sorted({item.labels[0] for item in items}))
    support = Support(labels, tuple(items), Path(job["source"]))
    evaluations = [
        replace(
            _loaded(job, m).evaluate(support, job["labels"], progress=_counted(emit)),
            model=name,
        )
        for m, name in zip(job["models"], job["names"], strict=True)
    ]
    first = evaluations[0]
    report: JsonDict = {
        "n": first.n,
        "top1": first.top1,
        "labels": list(first.labels),
        "sentence": first.summary(),
        "clips": [{**clip.to_dict(), "video": videos[str(clip.path)]} for clip in first.clips],
        "failed": [row.message for row in first.failed],
    }
    if len(evaluations) > 1:
        comparison = compare(*evaluations)
        rows: JsonDict = comparison.to_dict() | {"answers_changed": len(comparison.changed)}
        for name in ("changed", "moved"):
            rows[name] = [{**row, "video": videos[row["path"]]} for row in rows[name][:_MOST_ROWS]]
        report["comparison"] = {**rows, "sentence": comparison.summary()}
    return report


def _review(job: JsonDict, _: Emit) -> JsonDict:
    from vlar.apps.serve.library import video_id
    from vlar.library.library import Library

    review = registry.shelf("behaviour.candidates", "a review")
    with Library(job["library"], create=False) as library:
        candidates = review.of_library(_loaded(job, job["model"]), library, job["labels"])
    labelled = {
        (path, window)
        for path, window in candidates.places
        if window is not None and _is_covered(window, job["known"].get(str(path), ()))
    }
    items = candidates.first(job["k"], labelled=labelled)
    return {
        "items": [{**item.to_dict(), "video": video_id(str(item.path))} for item in items],
        "windows": len(candidates.places),
        "labelled": len(labelled),
        "labels": list(candidates.labels),
        "failed": [row.message for row in candidates.failed[:_MOST_ROWS]],
    }


def _is_covered(window: Window, spans: Sequence[tuple[float, float]]) -> bool:
    """Return whether labelled spans take half of a window."""
    shared = sum(max(0, min(window.end_s, b) - max(window.start_s, a)) for a, b in spans)
    return 2 * shared >= window.duration_s


def _counted(emit: Emit) -> Callable[..., None]:
    """A callback for progress that adds up the steps."""
    done = 0

    def progress(count: int = 0, total: int | None = None) -> None:
        nonlocal done
        done += count
        emit({"event": "progress", "done": done, "total": total, "path": None, "failure": None})

    return progress


def _example(each: JsonDict, kind: Any) -> Any:
    path, label = Path(each["path"]), each["label"]
    start_s, end_s = each["start_s"], each["end_s"]
    window = None if start_s is None else Window(start_s, end_s)
    return kind(path, window, (label,), str(path))


_JOBS: dict[str, Callable[[JsonDict, Emit], JsonDict]] = {
    "add": _add,
    "adapt": _adapt,
    "evaluate": _evaluate,
    "review": _review,
}
