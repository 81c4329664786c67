"""Classify every recording of a folder into a table: classify_folder.py FOLDER LABELS OUT.csv"""

import sys

import vlar
from vlar.media.lookup import find
from vlar.results import ANSWER_COLUMNS, write_table

folder, labels, out = sys.argv[1:]
model = vlar.load()
answers = list(model.classify(iter(find([folder], "video")), labels, top=3))
write_table(out, answers, ANSWER_COLUMNS)  # .csv or .parquet; a bad file is a row with its error
good = [answer for answer in answers if isinstance(answer, vlar.Classification)]
print(f"{len(good)} of {len(answers)} recordings in {out}")
