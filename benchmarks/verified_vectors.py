"""Write again the vectors that ``vlar doctor`` compares with, after a wanted change of ``lite``.

    python benchmarks/verified_vectors.py

They go into ``vlar/encoders/verified.json``: those of ``lite`` with ``lite-motion``, which must be
fetched, and those without it.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from vlar.encoders import download
from vlar.encoders.base import load_encoder


def main() -> None:
    rows = dict([download.row(load_encoder("lite"))])
    with tempfile.TemporaryDirectory() as empty:
        os.environ["VLAR_CACHE"] = empty
        rows |= dict([download.row(load_encoder("lite"))])
    place = Path(download.__file__).with_name("verified.json")
    place.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    for name in rows:
        print(name)


if __name__ == "__main__":
    main()
