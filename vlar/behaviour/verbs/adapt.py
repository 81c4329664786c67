"""``vlar adapt --truth``: learn from annotated recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlar.apps.cli import inputs, output
from vlar.apps.cli.adapt import save
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.errors import UsageError
from vlar.model.requests import AdaptRequest
from vlar.options import fields_of


def adapt_annotated(
    recordings: Sequence[str],
    out: str,
    model: str,
    asked: Mapping[str, Any],
    annotated: Mapping[str, Any],
    *,
    force: bool,
) -> int:
    """Learn from annotated recordings; returns the exit code.

    Args:
        recordings: Recordings, or folders of them.
        out: Folder for the model.
        model: Name of the model whose encoder reads the recordings.
        asked: Options of ``AdaptRequest``, of which the seed alone is of use.
        annotated: Options of ``AnnotatedRequest``.
        force: Whether a model in ``out`` is replaced.

    Raises:
        UsageError: an option is given that belongs to a support set of examples.
    """
    from vlar.behaviour.annotated.learn import learn_with_report

    for row in fields_of(AdaptRequest):
        if row.name != "seed" and asked[row.name] and asked[row.name] != row.default:
            raise UsageError(f"{row.name}=True belongs to examples; leave it out with --truth")
    options = {**annotated, "ignore": annotated["ignore"] or (), "seed": asked["seed"]}
    if options["add"] and model == "lite":
        model = str(options["add"])
    with progress(f"loading {model}") as shown:
        base = inputs.load_model(model, None, None)
        shown.stage("learning", unit="steps")
        learned, report = learn_with_report(base, recordings, progress=shown, **options)
        save(learned, out, force)
    for failure in report.failed:
        output.error(failure.message)
    for note in report.notes:
        output.note(f"vlar: {note}")
    output.row(
        {"model": out, **report.to_dict()},
        *report.summary(),
        f"saved to {out}; use it: vlar timeline RECORDING --model {out} --out bouts.csv",
    )
    return exit_code(report.recordings, len(report.failed))
