"""``vlar describe``: descriptions for new labels, and what is wrong with a bank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vlar.apps.cli import options, output
from vlar.apps.cli.options import Choices
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import exit_code
from vlar.errors import UsageError
from vlar.formatting import counted

if TYPE_CHECKING:
    from vlar.generators.descriptions.run import LabelOutcome

_WRITERS = Choices.of_kinds("describer", "describer")
_NAMED = 5  # labels that one line spells out


Labels = Annotated[
    list[str],
    typer.Argument(
        metavar="LABELS",
        help="A file of labels or 'a, b, c'; with --show also bank:NAME; with --check bank files "
        "or names.",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", "-o", metavar="FILE", help="The bank to write; an unfinished one is continued."
    ),
]
Units = Annotated[
    bool,
    typer.Option(
        "--units",
        help="Write the body parts, objects, scenes and motions that the banks' descriptions of "
        "the labels name, for --method asu.",
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="List the faults of banks, and write nothing.")
]
Show = Annotated[
    bool,
    typer.Option(
        "--show", help="Print label lists as a model reads them, with their source and hash."
    ),
]
Writer = Annotated[
    str,
    typer.Option(
        "--llm",
        metavar="NAME",
        autocompletion=_WRITERS.complete,
        help="openai:MODEL (server by OPENAI_BASE_URL, OPENAI_API_KEY), local:FOLDER "
        "(a transformers language model), or offline (from the tables of vlar).",
    ),
    _WRITERS,
]
Kinds = Annotated[
    str | None,
    typer.Option("--kinds", metavar="KINDS", help="Comma-separated; default: all kinds."),
]
Reader = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="NAME", help="The model that will read them; limits their length."
    ),
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", min=1, max=100, help="Labels in one request."),
]
Concurrency = Annotated[
    int,
    typer.Option("--concurrency", metavar="N", min=1, max=64, help="Requests to a server at once."),
]
Licence = Annotated[
    str | None,
    typer.Option("--licence", metavar="NAME", help="Licence of the texts, such as CC0-1.0."),
]


def command(
    labels: Labels,
    out: Out = None,
    check: Check = False,
    show: Show = False,
    units: Units = False,
    llm: Writer = "offline",
    kinds: Kinds = None,
    model: Reader = "lite",
    batch: Batch = None,
    concurrency: Concurrency = 4,
    licence: Licence = None,
    as_json: options.AsJson = False,
) -> int:
    """Write descriptions for labels into a bank, or check banks.

    Examples:
        vlar describe labels.txt --out bank.json
        vlar describe --show bank:ucf101
    """
    if check or show:
        if out is not None:
            raise UsageError(f"{'--check' if check else '--show'} writes nothing; leave out --out")
        return _check(labels, model, as_json) if check else _show(labels, as_json)
    if len(labels) != 1:
        raise UsageError(f"got {len(labels)} label lists; give one file, or 'a, b, c' in quotes")
    if out is None:
        raise UsageError("say where the bank goes: --out bank.json")
    if not out.lower().endswith(".json"):
        raise UsageError(f"--out is {out!r}; a bank's name ends in .json")
    if units:
        return _units(labels[0], out, as_json)
    return _describe(labels[0], out, llm, kinds, model, batch, concurrency, licence, as_json)


def _check(banks: Sequence[str], model: str, as_json: bool) -> int:
    from vlar.language.bank_validation import check_bank
    from vlar.model.model import load

    with progress(f"loading {model}"):
        limit = load(model).encoder
    bad = 0
    for name in dict.fromkeys(banks):
        found = check_bank(name.removeprefix("bank:"), limit)
        severe = sum(row.severe for row in found)
        bad += severe > 0
        for row in found:
            if as_json:
                output.json_line(row)
            else:
                output.line(f"{'ERROR ' if row.severe else 'remark'}  {row.message}")
        state = f"{severe} errors" if severe else "fine"
        remarks = f", {len(found) - severe} remarks" if len(found) > severe else ""
        output.note(f"{name}: {state}{remarks}")
    return exit_code(len(banks) - bad, bad)


def _show(lists: Sequence[str], as_json: bool) -> int:
    """Print the labels of each list, the text that a model reads for each, and the source."""
    from vlar.language.labels import parse_labels

    for spec in lists:
        found = parse_labels(spec)
        rows = [
            {"label": label, "text": text, "key": key}
            for label, text, key in zip(found.labels, found.texts, found.keys, strict=True)
        ]
        if as_json:
            output.json_line({"source": found.source, "sha256": found.sha256, "labels": rows})
            continue
        count = counted(len(found), "labels")
        output.line(f"{found.source}: {count}, texts with SHA-256 {found.sha256}")
        for row in rows:
            key = f"  ({row['key']})" if row["key"] != row["label"] else ""
            reads = f"  read as {row['text']!r}" if row["text"] != row["label"] else ""
            output.line(f"  {row['label']}{key}{reads}")
    return exit_code(len(lists), 0)


def _units(labels: str, out: str, as_json: bool) -> int:
    """Write the units of a label list, and count them by group."""
    from collections import Counter
    from pathlib import Path

    from vlar.generators.descriptions.base import write_units

    units = write_units(labels, Path(out))
    counts = Counter(unit.group for unit in units)
    if as_json:
        output.json_line({"units": len(units), **counts})
    else:
        named = ", ".join(f"{count} {group}" for group, count in counts.items())
        output.line(f"{len(units)} units ({named})")
        output.line(f"saved to {out}; use it: unit_bank = {out!r} in [adapter]", flush=True)
    return exit_code(1, 0)


def _describe(
    labels: str,
    out: str,
    llm: str,
    kinds: str | None,
    model: str,
    batch: int | None,
    concurrency: int,
    licence: str | None,
    as_json: bool,
) -> int:
    from vlar.generators.descriptions.run import describe
    from vlar.language.bank import KINDS

    with progress("describing", unit="labels") as advance:
        report = describe(
            labels,
            out,
            llm=llm,
            kinds=KINDS if kinds is None else kinds.split(","),
            model=model,
            batch=batch,
            concurrency=concurrency,
            licence=licence,
            progress=advance,
        )
    for remark in report.remarks:
        output.note(f"vlar: {remark}")
    for row in report.rows:
        if as_json:
            output.json_line(row)
        for note in () if row.problem else row.found.notes:
            output.note(f"{row.found.label}: {note}")
    _problems(report.failed)
    described = len(report.rows) - len(report.failed)
    if not as_json:
        kept = f", {report.n_before} were there before" if report.n_before else ""
        output.line(f"{described} of {len(report.rows)} labels described{kept}")
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
