"""Pages of one evaluation, and of runs next to each other.

A page is one file: pictures are inside it, nothing is loaded from elsewhere, and no script runs.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from vlar.errors import UsageError, VlarError, explained
from vlar.evaluation.report import (
    cell,
    differences,
    pairs_of,
    rows,
    title,
)
from vlar.metrics.figures import Figure, percent
from vlar.metrics.result import EvaluatedClip, Evaluation, confusion_matrix, most_confused
from vlar.types import JsonDict, Window

Runs = Sequence[tuple[Path, list[JsonDict]]]
_WORST, _PICTURES, _WIDTH = 12, 3, 150  # clips, frames of each, pixels
_MOST_ROWS = 40  # labels of the matrix
_BAR = 140  # pixels of the value 1
_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def _save(path: str | Path, name: str, parts: Iterable[str]) -> None:
    """Write the parts that have a body as one page."""
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(name)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )
    with explained(UsageError, f"{path}: cannot be written", "check it"):
        Path(path).write_text(text, encoding="utf-8", errors="replace")


def _table(kind: str, lines: Iterable[Iterable[str]], head: Sequence[str] = ()) -> str:
    """A table of HTML cells."""
    top = (
        f"<thead><tr>{''.join(f'<th>{title}</th>' for title in head)}</tr></thead>" if head else ""
    )
    body = "".join(f"<tr>{''.join(f'<td>{value}</td>' for value in line)}</tr>" for line in lines)
    return f'<table class="{kind}">{top}<tbody>{body}</tbody></table>'


def write_page(result: Evaluation, path: str | Path) -> None:
    """Write an evaluation as one HTML file.

    Args:
        result: The evaluation. The recordings of its worst answers are opened for pictures.
        path: The file.

    Raises:
        UsageError: the file cannot be written.
    """
    facts = {"mode": result.mode, **result.settings}.items()
    sections = {
        "Answers by label": _matrix(result),
        "Do probabilities come true": _reliability(result),
        "Labels": _bars(result),
        "Worst answers": _cards(result.worst(_WORST)),
        "Not counted": "".join(f"<p>{escape(row.message)}</p>" for row in result.failed),
        "Settings": _table("facts", (map(escape, map(str, row)) for row in facts)),
    }
    parts = [f"<h2>{name}</h2>\n{body}" for name, body in sections.items() if body]
    _save(path, f"{result.model} on {result.source.name}", [_head(result), *parts])


def _head(result: Evaluation) -> str:
    tiles: list[tuple[str, str, str]] = []
    names = {"top1": "top-1", "top5": "top-5", "macro": "mean over labels"}
    for key, name in names.items():
        figure = result.figure(key)
        tiles.append((name, figure.text(" %"), figure.ends or "no interval"))
    tiles += [
        ("mAP", f"{result.map:.3f}", "label to clip"),
        ("called unknown", percent(result.unknown_rate), "of the clips"),
        ("calibration error", f"{result.ece:.3f}", "0 is perfect"),
    ]
    if result.micro_map is not None:
        tiles.append(("micro mAP", f"{result.micro_map:.3f}", "pairs of clip and label"))
    tiles += [(name, percent(share), "part of the label") for name, share in result.parts.items()]
    cells = "".join(
        f'<div class="tile">{escape(name)}<b>{value}</b><small>{note}</small></div>'
        for name, value, note in tiles
    )
    lines = [result.threshold_sentence(), result.confusion_sentence(), *result.remarks()]
    notes = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return (
        f"<h1>{escape(result.model)} on {escape(str(result.source))}</h1>"
        f'<p class="soft">{result.n} clips, {len(result.labels)} labels, {result.groups} groups; '
        f'95 % intervals over groups</p><div class="tiles">{cells}</div>{notes}'
    )


def _matrix(result: Evaluation) -> str:
    names, table = confusion_matrix(result)
    confusions = most_confused(names, table, _MOST_ROWS)
    head = "".join(f"<th>{escape(names[column])}</th>" for column in confusions)
    lines: list[str] = []
    for row in confusions:
        total = sum(table[row])
        cells = "".join(
            _cell(table[row][column], total, names[row], names[column], own=row == column)
            for column in confusions
        )
        lines.append(f"<tr><th>{escape(names[row])}</th>{cells}</tr>")
    left_out = len(names) - len(confusions)
    note = f"; the {left_out} labels with the fewest wrong answers are left out" if left_out else ""
    return (
        f'<p class="soft">Rows: what clips show. Columns: what was answered{note}.</p>'
        f'<div class="scroll"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(count: int, total: int, truth: str, answer: str, *, own: bool) -> str:
    share = count / total if total else 0.0
    hint = escape(f"{truth} answered as {answer}: {count} of {total}", quote=True)
    kind = ' class="own"' if own else ""
    colour = f' style="background:rgba(var(--mark),{0.75 * share:.2f})"' if count else ""
    return f'<td{kind}{colour} title="{hint}">{count or ""}</td>'


def _reliability(result: Evaluation) -> str:
    size, x, top = 260, 40, 10
    most = max(row.count for row in result.reliability)
    marks = "".join(
        f'<circle class="mark" cx="{x + size * row.stated:.1f}" '
        f'cy="{top + size * (1 - row.right):.1f}" r="{3 + 9 * (row.count / most) ** 0.5:.1f}" '
        f'fill-opacity=".75"><title>{row.count} answers of {percent(row.stated)} on average, '
        f"{percent(row.right)} right</title></circle>"
        for row in result.reliability
    )
    ticks = "".join(
        f'<text x="{x + size * tick / 4:.0f}" y="{top + size + 16}" text-anchor="middle">'
        f'{25 * tick}</text><text x="{x - 6}" y="{top + size * (1 - tick / 4) + 4:.0f}" '
        f'text-anchor="end">{25 * tick}</text>'
        for tick in range(5)
    )
    return (
        '<p class="soft">Each mark is a bin of answers: stated probability across, share right '
        "upwards, in percent; its area is their number. On the line probabilities are honest.</p>"
        f'<svg width="{x + size + 20}" height="{top + size + 40}" role="img" '
        f'aria-label="reliability diagram"><rect class="line" x="{x}" y="{top}" width="{size}" '
        f'height="{size}" fill="none"/><line class="line" x1="{x}" y1="{top + size}" '
        f'x2="{x + size}" y2="{top}"/>{marks}{ticks}'
        f'<text x="{x + size / 2}" y="{top + size + 33}" text-anchor="middle">'
        "stated probability</text></svg>"
    )


def _bars(result: Evaluation) -> str:
    rows = [row for row in result.per_label if row.accuracy is not None]
    rows.sort(key=lambda row: (row.accuracy or 0.0, row.label))
    return _table(
        "bars",
        (
            (
                escape(row.label),
                f'<div class="bar"><i style="width:{100 * (row.accuracy or 0):.0f}%"></i></div>',
                percent(row.accuracy or 0),
                f"of {row.n}, average precision {row.average_precision or 0:.2f}",
            )
            for row in rows
        ),
    )


def _cards(worst: Iterable[EvaluatedClip]) -> str:
    cards = "".join(
        f'<div class="card"><div>{_pictures(clip)}</div>'
        f'<p>shows <b class="good">{escape(", ".join(clip.truth))}</b> '
        f"({percent(clip.truth_probability)}, place {clip.rank})<br>answered "
        f'<b class="bad">{escape(clip.answer)}</b> ({percent(clip.probability)})'
        f"{', called unknown' if clip.unknown else ''}</p>"
        f'<p class="soft">{escape(str(clip.path))}, {clip.start_s:.1f} to {clip.end_s:.1f} s</p>'
        "</div>"
        for clip in worst
    )
    return f'<div class="cards">{cards}</div>' if cards else "<p>All answers are right.</p>"


def _pictures(clip: EvaluatedClip) -> str:
    """Frames of a clip as pictures inside the page; nothing for what is not a video."""
    from PIL import Image

    from vlar.media.lookup import read_clip

    try:
        window = Window(clip.start_s, clip.end_s)
        read = read_clip(clip.path, window, _PICTURES, shorter_side=_WIDTH)
    except VlarError:  # it was readable before; a page without a picture is still a page
        return ""
    if read.modality != "video":
        return ""
    images: list[str] = []
    for frame in read.data:
        image = Image.fromarray(frame)
        image.thumbnail((_WIDTH, _WIDTH))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=70)
        data = base64.b64encode(stream.getvalue()).decode("ascii")
        images.append(f'<img alt="" src="data:image/jpeg;base64,{data}">')
    return "".join(images)


def write_runs_page(file: Path, runs: Runs) -> None:
    """Write one page: the runs, and for each card and protocol what differs and the figures.

    Raises:
        UsageError: the file cannot be written.
    """
    names = [escape(path.stem) for path, _ in runs]
    numbered = {id(run): n for n, (_, listed) in enumerate(runs) for run in listed}
    listed = (
        (
            names[number],
            escape(run["card"]),
            escape(run["protocol"]),
            escape(str(run["moves"]["model"]["encoder"])),
            f'<span class="soft">{escape(run["moves"]["model"]["fingerprint"][:12])}</span>',
            escape(run["made"]),
            f"{run['cost']['seconds']:.1f} s" if "cost" in run else "",
        )
        for number, (_, run_of_page) in enumerate(runs)
        for run in run_of_page
    )
    head = ("run", "card", "protocol", "encoder", "fingerprint", "made", "time")
    parts = ["<h1>Runs</h1>", _table("runs", listed, head)]
    for group in pairs_of([listed for _, listed in runs]):
        names_of_group = [names[numbered[id(run)]] for run in group]
        parts.append(f"<h2>{escape(group[0]['card'])}, {escape(group[0]['protocol'])}</h2>")
        for name, other in zip(names_of_group[1:], group[1:], strict=True):
            parts.append(_differences(names_of_group[0], name, group[0], other))
        lines = (
            (
                escape(title(row.name, row.where)),
                *(f"{cell(v)} {_bar(v)}" for v in row.values),
                "; ".join(
                    f"{escape(method)} {percent(value, '')} "
                    f'<span class="soft">({escape(source)})</span>'
                    for method, value, _, source in row.published
                ),
            )
            for row in rows(group)
        )
        parts += [
            _table("runs", lines, ("figure", *names_of_group, "published")),
            _missing(names_of_group, group),
        ]
    _save(file, "Runs", parts)


def _differences(first: str, second: str, a: JsonDict, b: JsonDict) -> str:
    cells = [[escape(text) for text in row.to_dict().values()] for row in differences(a, b)]
    if not cells:
        return f"<p>{first} and {second} share every setting.</p>"
    return _table("runs", cells, ("what differs", first, second))


def _bar(figure: Figure | None) -> str:
    if figure is None or not 0 <= figure.value <= 1:
        return ""
    line = ""
    if figure.low is not None and figure.high is not None:
        ends = f'x1="{_BAR * figure.low:.0f}" x2="{_BAR * figure.high:.0f}"'
        line = f'<line class="range" {ends} y1="6" y2="6"/>'
    bar = f'<rect class="mark" width="{_BAR * figure.value:.0f}" height="12"/>'
    return f'<br><svg width="{_BAR}" height="12">{bar}{line}</svg>'


def _missing(names: Sequence[str], group: Sequence[JsonDict]) -> str:
    parts: list[str] = []
    for name, run in zip(names, group, strict=True):
        notes = "; ".join(run["moves"]["data"]["notes"])
        if run["n_missing"] or run["failed"] or notes:
            parts.append(
                f'<p class="bad">{name}: {run["n_missing"]} clips missing, '
                f"{len(run['failed'])} not readable. {escape(notes)}</p>"
            )
    return "".join(parts)
