"""The page on which people answer questions: one file, pictures inside, no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Entry:
    """A question on the page.

    Attributes:
        cells: Its row in the table, without the answer.
        options: Letter and text of each option.
        shots: Pictures of the clip in the order of time, as ``data:`` addresses.
    """

    cells: Mapping[str, str]
    options: Sequence[tuple[str, str]]
    shots: Sequence[str]


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>What do these clips show?</title><style>
body{font:16px/1.4 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
fieldset{border:1px solid #8886;border-radius:.5rem;margin:1rem 0}label{display:block;padding:.2rem}
img{height:120px;margin:2px}button{font:inherit;padding:.5rem 1rem}
@media(prefers-color-scheme:dark){body{background:#181818;color:#eee}}
</style><h1>What do these clips show?</h1>
<p>Choose one option for each clip. Pictures are in the order of time. Leave a clip out where you
cannot decide. Then save the table, and put it in the place of the old one.</p>
"""
# Rows as the table has them; formulas cannot occur, since only known texts and letters are written.
_SCRIPT = """
const rows=JSON.parse(document.getElementById("rows").textContent);
const cell=t=>'"'+String(t).replaceAll('"','""')+'"';
document.getElementById("save").onclick=()=>{
 const lines=[["question","path","start_s","end_s","options","answer"].join(",")];
 for(const row of rows){
  const chosen=document.querySelector('input[name="'+row.question+'"]:checked');
  lines.push([row.question,row.path,row.start_s,row.end_s,row.options,chosen?chosen.value:row.answer]
   .map(cell).join(","));}
 const link=document.createElement("a");
 link.href=URL.createObjectURL(new Blob([lines.join("\\r\\n")+"\\r\\n"],{type:"text/csv"}));
 link.download=document.body.dataset.file;link.click();};
"""


def page(file_name: str, rows: Sequence[Mapping[str, str]], entries: Sequence[Entry]) -> str:
    """The page as HTML.

    Args:
        file_name: Name under which a browser saves the table.
        rows: The whole table, with the answers that it holds already.
        entries: The questions that wait for an answer.
    """
    safe = json.dumps([dict(row) for row in rows]).replace(
        "<", "\\u003c"
    )  # a text can neither end the script nor begin another
    return "\n".join(
        [
            _HEAD,
            f'<body data-file="{escape(file_name)}">',
            *(_fields(entry) for entry in entries),
            '<p><button id="save">Save the table</button></p>',
            f'<script type="application/json" id="rows">{safe}</script>',
            f"<script>{_SCRIPT}</script></body></html>\n",
        ]
    )


def _fields(entry: Entry) -> str:
    name = escape(entry.cells["question"])
    shots = "".join(f'<img alt="" src="{escape(shot)}">' for shot in entry.shots)
    options = "".join(
        f'<label><input type="radio" name="{name}" value="{letter}"> '
        f"{letter}. {escape(text)}</label>"
        for letter, text in entry.options
    )
    return f"<fieldset><div>{shots}</div>{options}</fieldset>"
