"""``vlar report``: runs of ``vlar eval`` next to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlar.apps.cli import options, output
from vlar.apps.cli.verb import EXIT_FINE, EXIT_NOTHING_USABLE, EXIT_SOME_FAILED


def command(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN.json", help="Files of runs, or folders of them.")
    ],
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write one page of all runs.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE.png", help="Draw the figures of the runs.")
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Compare runs of 'vlar eval'.

    What differs comes first, then the figures next to the published ones.

    Examples:
        vlar report run.json other.json
        vlar report run.json other.json --html runs.html
    """
    from vlar.errors import VlarError
    from vlar.evaluation.runner import read_runs

    files = _files(runs)
    read, failed = [], 0
    for file in files:
        try:
            read.append((file, read_runs(file)))
        except VlarError as error:
            failed += 1
            output.error(error.message)
            if as_json:
                kind = {"kind": error.kind, "message": error.message}
                output.json_line({"path": str(file), "error": kind})
    if not read:
        return EXIT_NOTHING_USABLE
    if html is not None:
        from vlar.evaluation.report import write_page

        write_page(Path(html), read)
        output.note(f"written to {html}")
    if plot is not None:
        from vlar.evaluation.report import write_plot

        write_plot(Path(plot), read)
        output.note(f"written to {plot}")
    _show([file for file, _ in read], [content for _, content in read], as_json)
    for file, content in read:
        _show_domains(file, content, as_json)
    return EXIT_SOME_FAILED if failed else EXIT_FINE


def _show_domains(file: Path, content: list[dict[str, object]], as_json: bool) -> None:
    """Means over the domains of a file of several cards, and the cards that gave no run."""
    from vlar.evaluation.report import domain_means, sentence
    from vlar.evaluation.runner import read_skipped

    skipped, means = read_skipped(file), domain_means(content)
    if as_json and (skipped or means):
        rows = [row.to_dict() for row in means]
        output.json_line({"path": str(file), "domains": rows, "skipped": skipped})
        return
    if means:
        output.line(f"means over the cards of {file}")
    for row in means:
        output.line(f"  {sentence(row)}")
    for row in skipped:
        output.line(f"  missing from the means: {row['card']} ({row['error']['message']})")


def _files(given: list[str]) -> list[Path]:
    files: list[Path] = []
    for text in given:
        path = Path(text)
        files += sorted(path.glob("*.json")) if path.is_dir() else [path]
    return files


def _show(files: list[Path], contents: list[list[dict[str, object]]], as_json: bool) -> None:
    from vlar.evaluation.report import differences, heading, pairs_of, rows, sentence

    for group in pairs_of(contents):
        first = group[0]
        found = [differences(first, other) for other in group[1:]]
        table = rows(group)
        if as_json:
            listed = [[row.to_dict() for row in each] for each in found]
            content = {"card": first["card"], "protocol": first["protocol"]}
            figures = [row.to_dict() for row in table]
            output.json_line({**content, "differences": listed, "figures": figures})
            continue
        output.line(heading(first))
        for number, each in enumerate(found, start=2):
            output.line(f"  run 1 and run {number} differ in {len(each)} settings")
            for row in each:
                output.line(f"    {row.key}: {row.first} | {row.second}")
        for row in table:
            output.line(f"  {sentence(row)}")
    if not as_json:
        output.line("runs: " + ", ".join(f"{n} {file}" for n, file in enumerate(files, start=1)))
