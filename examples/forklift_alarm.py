"""Post an alarm when a label turns on: forklift_alarm.py SOURCE WEBHOOK [MODEL]

SOURCE is a stream, a folder into which recordings are copied, or frigate+http://HOST:5000.
What the receiver misses waits on disk, also over a restart.
"""

import os
import sys
from pathlib import Path

import vlar
from vlar.apps.publish.watch import Receivers, Switch, Watch, run_watch
from vlar.language.labels import LabelSet
from vlar.model.requests import ClassifyRequest

LABELS = ["a forklift drives near people", "a forklift drives alone", "an empty hall"]
source, webhook = sys.argv[1:3]
model = vlar.load(*sys.argv[3:4])  # one that was adapted to your own hall is far better
request = ClassifyRequest(LabelSet.read(None if model.labels else LABELS), top=100)
once = Path(source).is_dir()
watch = Watch(source, request, on=0.6, off=0.4, least_s=0.0, settle_s=0.2, once=once)
receivers = Receivers(webhook=webhook, secret=os.environ.get("ALARM_KEY", ""), note=print)
receivers.queue = Path("alarm-queue")
for row in run_watch(model, watch, receivers):
    if isinstance(row, Switch):
        print("on " if row.on else "off", row.label, f"{row.probability:.0%}", row.source)
