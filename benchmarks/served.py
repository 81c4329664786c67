"""Seconds that a person waits for `vlar serve`: queries over loopback, as the page asks them.

    python benchmarks/served.py [--rows 50000] [--model lite] [--asked 200] [--json OUT]

A library is made (``callers.py``: rows near texts of everyday actions, 100 windows a recording), a
real server is started over it and waits until its model is loaded. After thirty queries one caller
asks, without a pause: ``new`` phrases, the same ``again``, and expressions of two phrases
(``and``). Each row is the p50, p95 and longest wait in milliseconds, of the request with its JSON.
The exit status is 1 where the p95 of new phrases is above the bar of 500 ms; the load of the
machine, before and after, stands next to it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from callers import phrases, recordings

BAR_MS, WARM = 500.0, 10
PAGE = {"k": 25, "where": [], "min_probability": 0.05, "one_per_recording": True}


def asked(address: str, path: str, body: Any = None) -> Any:
    """The JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{address}{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def waits(address: str, texts: Sequence[str]) -> dict[str, float]:
    """Milliseconds of queries that are asked one after the other."""
    taken: list[float] = []
    for text in texts:
        begin = time.monotonic()
        asked(address, "api/query", {**PAGE, "text": text})
        taken.append(1e3 * (time.monotonic() - begin))
    p50, p95 = np.percentile(taken, [50, 95]).tolist()
    return {"p50": p50, "p95": p95, "most": max(taken)}


def measured(library: Path, state: Path, count: int) -> dict[str, dict[str, float]]:
    """Waits at a server over a library, by kind of query."""
    vlar = str(Path(sys.executable).with_name("vlar"))
    command = [vlar, "serve", str(library), "--port", "0", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            while not asked(address, "api/health")["ready"]:
                time.sleep(0.1)
            for _ in range(3):  # the first ones may wait longer than the server lets them
                with suppress(urllib.error.HTTPError):
                    waits(address, phrases(WARM, 2900))
            both = [f'"{a}" AND "{b}"' for a, b in zip(phrases(20), phrases(20, 20), strict=True)]
            return {
                "new": waits(address, phrases(count)),
                "again": waits(address, phrases(count)),
                "and": waits(address, both),
            }
        finally:
            server.terminate()


def main() -> int:
    from vlar import load
    from vlar.library.library import Library

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--asked", type=int, default=200, help="phrases of each kind")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    model = load(options.model)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "made.vlar"
        with Library(folder, model) as library:
            library.add_vectors(recordings(model, options.rows))
            library.query("the index is built", 1)
        loads = [os.getloadavg()[0]]
        rows = measured(folder, Path(place) / "state", options.asked)
        loads.append(os.getloadavg()[0])
    print(f"{options.rows} rows, {os.cpu_count()} cores, load {loads[0]:.1f} to {loads[1]:.1f}")
    for kind, row in rows.items():
        print(f"{kind:6}" + "".join(f"  {name} {value:7.1f} ms" for name, value in row.items()))
    if options.json:
        facts = {"rows": options.rows, "asked": options.asked, "load": loads, **rows}
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return int(rows["new"]["p95"] > BAR_MS)


if __name__ == "__main__":
    sys.exit(main())
