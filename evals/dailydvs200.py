"""The sentences of DailyDVS-200 as a text bank, from the file that a user has.

    python evals/dailydvs200.py action_description.csv --out dailydvs200.json
    vlar classify rec.aedat4 --model events --labels bank:dailydvs200.json

``action_description.csv`` lies in the repository of the data set (MIT); it is not part of vlar.
"""

from __future__ import annotations

import json
from pathlib import Path

from harness import arguments

from vlar.evaluation.datasets.lists import descriptions

if __name__ == "__main__":
    given = arguments(
        __doc__, file={"positional": True, "type": Path}, out={"type": Path, "required": True}
    )
    rows = descriptions(given.file)
    bank = {
        "format": 1,
        "name": "dailydvs200",
        "licence": "MIT (DailyDVS-200)",
        "provenance": {"source": given.file.name, "date": "-", "made": "evals/dailydvs200.py"},
        "entries": [
            {"label": label, "descriptions": [{"kind": "sentence", "text": text}]}
            for label, text in rows
        ],
    }
    given.out.write_text(json.dumps(bank, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{len(rows)} classes are in {given.out}")
