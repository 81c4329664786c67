"""``vlar describe``: descriptions for new labels, and what is wrong with a bank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from vlar.apps.cli import output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.errors import UsageError
from vlar.formatting import counted
from vlar.options import FILES, Option

if TYPE_CHECKING:
    from vlar.generators.descriptions.run import DescribeReport, LabelOutcome

_NAMED = 5  # labels that one line spells out


def describe(
    labels: Annotated[
        list[str],
        Option(
            "A file of labels or 'a, b, c'; with --show also bank:NAME; with "
            "--check bank files or names.",
            "LABELS",
        ),
    ],
    /,
    *,
    out: Annotated[
        str | None, Option("The bank to write; an unfinished one is continued.", "-o FILE", FILES)
    ] = None,
    check: Annotated[bool, Option("List the faults of banks, and write nothing.")] = False,
    show: Annotated[
        bool, Option("Print label lists as a model reads them, with their source and hash.")
    ] = False,
    llm: Annotated[
        str,
        Option(
            "openai:MODEL (server by OPENAI_BASE_URL, OPENAI_API_KEY), "
            "local:FOLDER (a transformers language model), or offline (from the "
            "tables of vlar).",
            "NAME",
            choices="describer",
        ),
    ] = "offline",
    kinds: Annotated[
        str | None, Option("Comma-separated; default: all kinds.", "rare KINDS")
    ] = None,
    model: Annotated[
        str, Option("The model that will read them; limits their length.", "rare -m NAME")
    ] = "lite",
    batch: Annotated[int | None, Option("Labels in one request.", "rare 1..100")] = None,
    concurrency: Annotated[int, Option("Requests to a server at once.", "rare 1..64")] = 4,
) -> int:
    """Write descriptions for labels into a bank, or check banks.

    Examples:
        vlar describe labels.txt --out bank.json
        vlar describe --show bank:ucf101
    """
    if check or show:
        if out is not None:
            raise UsageError(f"{'--check' if check else '--show'} writes nothing; leave out --out")
        return _check(labels, model) if check else _show(labels)
    if len(labels) != 1:
        raise UsageError(f"got {len(labels)} label lists; give one file, or 'a, b, c' in quotes")
    if out is None:
        raise UsageError("say where the bank goes: --out bank.json")
    if not out.lower().endswith(".json"):
        raise UsageError(f"--out is {out!r}; a bank's name ends in .json")
    from vlar.generators.descriptions import run
    from vlar.language.bank import KINDS

    with progress("describing", unit="labels") as advance:
        report = run.describe(
            labels[0],
            out,
            llm=llm,
            kinds=KINDS if kinds is None else kinds.split(","),
            model=model,
            batch=batch,
            concurrency=concurrency,
            progress=advance,
        )
    return _report(report, out)


def _check(banks: Sequence[str], model: str) -> int:
    from vlar.generators.descriptions.bank_validation import check_bank
    from vlar.model.model import load

    with progress(f"loading {model}"):
        limit = load(model).encoder
    bad = 0
    for name in dict.fromkeys(banks):
        faults = check_bank(name.removeprefix("bank:"), limit)
        severe = sum(row.severe for row in faults)
        bad += severe > 0
        for row in faults:
            output.row(row, f"{'ERROR ' if row.severe else 'remark'}  {row.message}")
        state = f"{severe} errors" if severe else "fine"
        remarks = f", {len(faults) - severe} remarks" if len(faults) > severe else ""
        output.note(f"{name}: {state}{remarks}")
    return exit_code(len(banks) - bad, bad)


def _show(lists: Sequence[str]) -> int:
    """Print the labels of each list, the text that a model reads for each, and the source."""
    from vlar.language.labels import parse_labels

    for spec in lists:
        label_list = parse_labels(spec)
        texts = list(zip(label_list.labels, label_list.texts, label_list.keys, strict=True))
        lines = [
            f"{label_list.source}: {counted(len(label_list), 'labels')}, texts with SHA-256 "
            f"{label_list.sha256}"
        ]
        for label, text, key in texts:
            other = f"  ({key})" if key != label else ""
            reads = f"  read as {text!r}" if text != label else ""
            lines.append(f"  {label}{other}{reads}")
        rows = [{"label": label, "text": text, "key": key} for label, text, key in texts]
        output.row(
            {"source": label_list.source, "sha256": label_list.sha256, "labels": rows}, *lines
        )
    return exit_code(len(lists), 0)


def _report(report: DescribeReport, out: str) -> int:
    for remark in report.remarks:
        output.note(f"vlar: {remark}")
    for row in report.rows:
        output.row(row)
        for note in () if row.problem else row.found.notes:
            output.note(f"{row.found.label}: {note}")
    _problems(report.failed)
    described = len(report.rows) - len(report.failed)
    if not output.is_json():
        note_before = f", {report.n_before} were there before" if report.n_before else ""
        output.line(f"{described} of {len(report.rows)} labels described{note_before}")
        output.line(report.bank.provenance["source"])
        if described + report.n_before:
            output.line(f"saved to {out}; use it: vlar classify VIDEO --labels {out}", flush=True)
    return exit_code(described + report.n_before, len(report.failed))


def _problems(failed: Sequence[LabelOutcome]) -> None:
    """One line for each reason: a server that is gone fails every label in the same words."""
    reasons: dict[str, list[str]] = {}
    for row in failed:
        reasons.setdefault(row.problem or "", []).append(repr(row.found.label))
    for reason, labels in reasons.items():
        more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
        output.error(f"{', '.join(labels[:_NAMED])}{more}: {reason}")
