"""Card of a model: its data, figures with their control, calibration, limits, licences, versions.

A model folder has it as ``card.md``. It is made from the manifest alone, so a folder of an earlier
version has one too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlar.errors import ModelError
from vlar.files.reading import read_file
from vlar.formatting import counted, escaped, percent, worded
from vlar.metrics.intervals import exact_interval
from vlar.model.adapt_report import AdaptReport

FILE = "card.md"
MOST_BYTES = 4 << 20
_MOST_ROWS = 100  # labels, confusions
_LIMITS = (
    "`unknown` is an answer. What is on no list is never named, and a wrong list gives wrong "
    "answers that have a probability.",
    "Figures hold for recordings like those that were measured: the same cameras, places and "
    "people. Measure your own: `vlar evaluate MODEL LABELLED`.",
    "Names and words are English. Labels in other languages get a warning and worse answers.",
    "It must not decide alone about people: no answer is evidence of who somebody is, or of what "
    "somebody intends.",
)


def model_card(manifest: Mapping[str, Any], name: str) -> str:
    """Card of a saved model, as Markdown.

    Args:
        manifest: Content of ``vlar.json``, in the format of today.
        name: Name of the model, such as that of its folder.
    """
    report = AdaptReport.restored(manifest["report"]) if manifest.get("report") else None
    labels: Sequence[str] | None = manifest.get("labels")
    sections = {
        "Data": _data(report, labels),
        "Figures": _figures(report),
        "Calibration": _calibration(manifest),
        "Limits": _limits(manifest, labels),
        "Licences": _licences(manifest),
        "Versions": _versions(manifest),
    }
    subject = f"{counted(len(labels), 'labels')} and `unknown`" if labels else "any label list"
    opening = f"It answers about {subject}. Use it with `--model FOLDER`."
    return _page(name, opening, sections)


def folder_card(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Card of a model folder, as Markdown: its ``card.md``, or one made of its manifest.

    Args:
        folder: The model folder.
        manifest: Content of its ``vlar.json``, checked.

    Raises:
        ModelError: its ``card.md`` cannot be read.
    """
    file = folder / FILE
    try:
        text = read_file(file, MOST_BYTES, links=False).decode("utf-8")
    except FileNotFoundError:  # saved by an earlier version
        return model_card(manifest, folder.absolute().name)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"{file} cannot be read ({why}); delete it for a card of today") from error
    return "\n".join(map(escaped, text.splitlines())) + "\n"


def catalogue_card(entry: Mapping[str, Any]) -> str:
    """Card of a model of the catalogue, as Markdown.

    Args:
        entry: Row of the catalogue, as JSON: its published figures have their protocol and source.
    """
    rows: list[str] = []
    for protocol, facts in entry.get("figures", {}).items():
        values = {name: value for name, value in facts.items() if isinstance(value, float | int)}
        cells = facts.get("what", protocol), values, facts.get("source", "")
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    published = ["| protocol | published, in percent | source |", "|---|---|---|", *rows]
    terms = "; not for commercial use" if entry.get("non_commercial") else ""
    sections = {
        "Data": [
            "It learned from no recording of yours; the makers of the weights state their data."
        ],
        "Figures": [
            *(published if rows else []),
            "No figure of it stands here with an interval and a control. `evals/` and the pages on "
            "figures have those of the default model; `vlar evaluate` measures yours.",
        ],
        "Calibration": [
            "Probabilities are those of its own curve. `vlar calibrate` fits them to your labels."
        ],
        "Limits": [f"- {text}" for text in _LIMITS],
        "Licences": [f"- weights: {entry['licence']}{terms}", "- vlar: Apache-2.0"],
        "Versions": [
            f"- spec: `{entry['spec']}`",
            f"- {entry['parameters_m']} million parameters, {entry['download_mb']} MB to fetch",
        ],
    }
    note = f" {entry['note']}." if entry.get("note") else ""
    return _page(str(entry["alias"]), f"{entry['purpose'].capitalize()}.{note}", sections)


def _page(name: str, opening: str, sections: Mapping[str, Sequence[str]]) -> str:
    blocks = [f"# {escaped(name)}", opening]
    for title, lines in sections.items():
        blocks += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(blocks) + "\n"


def _cell(value: object) -> str:
    """A value inside a table: what would end its cell or its row is escaped."""
    return escaped(" ".join(worded(value).split())).replace("|", r"\|")


def _data(report: AdaptReport | None, labels: Sequence[str] | None) -> list[str]:
    if report is None:
        return [
            "It was adapted, and its folder has no report of the examples."
            if labels
            else "It learned from no examples: answers come from the encoder and the words alone."
        ]
    total = sum(report.examples.values())
    lines = [f"- {counted(total, 'examples')} of {counted(len(report.examples), 'labels')}"]
    if report.recordings:
        lines = [f"- {counted(report.recordings, 'recordings')}, learned from by training"]
    if report.source:
        lines.append(f"- source: `{escaped(report.source)}`; recordings are not part of the folder")
    if report.groups:
        lines.append(
            f"- {counted(report.groups, 'groups')} (recordings or people), held out as one"
        )
    if report.synthetic:
        lines.append(f"- {counted(report.synthetic, 'examples')} made from another sensor")
    if report.failed:
        lines.append(f"- {counted(len(report.failed), 'files')} not read")
    rows = [f"| {_cell(label)} | {n} |" for label, n in report.examples.items()]
    return [*lines, "", "| label | examples |", "|---|---|", *_few(rows)] if rows else lines


def _few(rows: Sequence[str]) -> list[str]:
    more = len(rows) - _MOST_ROWS
    return [*rows[:_MOST_ROWS], *([f"| and {more} more | |"] if more > 0 else [])]


def _figures(report: AdaptReport | None) -> list[str]:
    if report is None or report.held_out is None:
        why = "; it had learned from some of the examples before" if report and report.seen else ""
        return [f"None: no example was held out{why}. Measure it with `vlar evaluate`."]
    total = sum(report.examples.values())
    value, spread = f"{percent(report.held_out)}, the mean over folds", "none: not counted"
    if report.tested:
        interval = exact_interval(report.right, report.tested)
        value = f"{percent(report.held_out)} ({report.right} of {report.tested})"
        spread = f"{percent(interval.low)} to {percent(interval.high)}"
    most, n_labels = max(report.examples.values()), len(report.examples)
    lines = [
        "| figure | value | 95 % interval | control |",
        "|---|---|---|---|",
        f"| accuracy on held-out examples | {value} | {spread} | "
        f"{percent(most / total)}: always the most frequent label |",
        "",
        "Examples of one group are held out together. The same examples chose the method, so the "
        "figure is on the high side. The interval is exact for examples that do not depend on each "
        f"other; by chance alone, {percent(1 / n_labels)} would be right.",
    ]
    confused = [f"- {_cell(row.sentence())}" for row in report.confusions[:5]]
    return [*lines, *(["", "Taken for each other most often:", "", *confused] if confused else [])]


def _calibration(manifest: Mapping[str, Any]) -> list[str]:
    rejector = manifest.get("rejector")
    lines = (
        [f"- probabilities: fitted to labelled clips ({_cell(manifest['calibration'])})"]
        if manifest.get("calibration")
        else ["- probabilities: of the head itself; `vlar calibrate` fits them to labelled clips"]
    )
    if rejector:
        lines.append(f"- `unknown`: rejector `{escaped(str(rejector.get('rejector')))}`")
    return lines


def _limits(manifest: Mapping[str, Any], labels: Sequence[str] | None) -> list[str]:
    moments = counted(manifest["encoder"]["frames"], "moments")
    limits = [f"A clip is read at {moments}; what happens between them is not seen.", *_LIMITS]
    if labels:
        limits.insert(0, "It answers its own labels alone; adapt again for others.")
    return [f"- {text}" for text in limits]


def _licences(manifest: Mapping[str, Any]) -> list[str]:
    encoder = manifest["encoder"]
    stated = escaped(encoder["licence"]) or "not stated; ask its makers"
    return [
        f"- encoder `{escaped(encoder['spec'])}`: {stated}",
        "- what was learned inherits the terms of the encoder and of the recordings",
        "- vlar: Apache-2.0",
    ]


def _versions(manifest: Mapping[str, Any]) -> list[str]:
    return [f"- {name}: {value}" for name, value in _facts(manifest)]


def _facts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    encoder = manifest["encoder"]
    yield "vlar", f"{manifest['vlar']}, format {manifest['format']}, saved {manifest['created']}"
    yield (
        "encoder",
        f"{encoder['dim']} numbers a vector, fingerprint `{encoder['fingerprint'][:12]}`",
    )
    for entry in (*manifest.get("inner", ()), manifest.get("adapter")):
        if entry:
            yield "adapter", f"`{entry['name']}`, fingerprint `{entry['fingerprint'][:12]}`"
    if head := manifest.get("head"):
        yield "head", f"`{escaped(str(head.get('head')))}`"
    yield "prompts", f"`{escaped(manifest['templates'])}`"
    for file, digest in (manifest.get("files_sha256") or {}).items():
        yield f"`{file}`", f"SHA-256 `{digest}`"
