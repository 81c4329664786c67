"""Annotations of behaviour to a table of budgets: ethogram.py ANNOTATIONS... OUT.csv

ANNOTATIONS are files of BORIS, ELAN, Solomon or any other format of docs/exchange.md.
"""

import csv
import dataclasses
import sys
from pathlib import Path

import vlar
from vlar.segments import load

*files, out = sys.argv[1:]
rows = []
for file in files:
    table = load(file)
    rows += vlar.ethogram(table.segments, duration_s=table.durations or None)
with Path(out).open("w", newline="") as stream:
    names = [field.name for field in dataclasses.fields(rows[0])]
    writer = csv.writer(stream)
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
print(f"{len(rows)} rows of {len(files)} files in {out}")
