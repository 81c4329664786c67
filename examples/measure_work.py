"""Times of steps of work, cycles and breaches of order: measure_work.py VIDEO STEP, STEP, ..."""

import json
import sys

import vlar
from vlar.behaviour.timeline.recordings import TimelineRules, find_segments
from vlar.behaviour.timeline.work_cycles import measure

video, text = sys.argv[1:]
steps = [step.strip() for step in text.split(",")]
rules = TimelineRules(every_s=0.5, shortest_s=0.5)
rows = []
for row in find_segments(vlar.load(), video, steps, rules):
    if isinstance(row, vlar.Failure):
        sys.exit(row.message)
    rows.append(row)
    print(f"{row.start_s:.1f} to {row.end_s:.1f} s  {row.label or '(none)'}")
print(json.dumps(measure(rows, order=steps).to_dict(), indent=1))
