"""Report moments of a stream that show one of some labels: moderate_stream.py ADDRESS LABELS

ADDRESS is a stream (rtsp://..., http://.../live.ts) or the number of a camera. A person decides
about what is reported: the program stores and blocks nothing.
"""

import sys

import vlar
from vlar.apps.publish.watch import LabelStates
from vlar.language.labels import LabelSet
from vlar.model.requests import ClassifyRequest
from vlar.plugins.streams.answers import classify_live

address, labels = sys.argv[1:]
model = vlar.load()
request = ClassifyRequest(LabelSet.read(labels, "multi"), top=100, every_s=2.0)
states = LabelStates(model.classifier(labels, mode="multi").labels, on=0.6, off=0.4)
for answer in classify_live(model, address, request):
    if isinstance(answer, vlar.Failure):
        print(answer.message, file=sys.stderr)
        continue
    for change in states.take(answer, "stream", answer.end_s):
        print(f"{change.start_s:.0f} s  {change.label}  {'begins' if change.on else 'ends'}")
