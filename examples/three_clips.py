"""Teach labels by three clips each: three_clips.py SUPPORT MODEL CLIP...

SUPPORT has one folder of clips a label.
"""

import sys

import vlar

support, target, *clips = sys.argv[1:]
mine = vlar.load().adapt(support, shots=3)
print(mine.report.summary())
mine.save(target, replace=True)
for answer in mine.classify(clips):
    if isinstance(answer, vlar.Failure):
        print(answer.message)
    else:
        print(answer.path, "unknown" if answer.unknown else answer.label)
