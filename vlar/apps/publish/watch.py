"""A watch: answers about a stream, a folder or a Frigate become changes, and leave.

A label turns on and off by two thresholds, with a least time in each state.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from vlar import registry
from vlar.apps.live import new_recordings
from vlar.apps.publish import frigate
from vlar.apps.publish.mqtt import Broker, discovery, publish_all, slug
from vlar.apps.publish.outbox import Delivery, Outbox
from vlar.apps.publish.webhook import check_address, post_all
from vlar.errors import UsageError
from vlar.media.video.live import is_live, shown_address
from vlar.model.model import Model
from vlar.model.requests import ClassifyRequest
from vlar.types import Classification, Clip, Failure, JsonDict

_JPEG_SIDE = 640
Note = Callable[[str], None]


@dataclass(frozen=True)
class Switch:
    """A label that turned on or off.

    Attributes:
        source: Address or file of what was watched, without passwords.
        label: The label.
        on: Whether it turned on.
        probability: Probability of the label, 0 to 1.
        at_s: Unix time in seconds.
        start_s: Start of the span that turned it, in seconds of the source.
        end_s: End of the span.
        model: Name of the model.
    """

    source: str
    label: str
    on: bool
    probability: float
    at_s: float
    start_s: float
    end_s: float
    model: str

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return asdict(self)


@dataclass
class LabelStates:
    """State, on or off, of each label of one source.

    Attributes:
        labels: The labels.
        on: Probability from which a label turns on.
        off: Probability below which it turns off; at most ``on``.
        least_s: Seconds that a label stays as it is.
    """

    labels: Sequence[str]
    on: float = 0.5
    off: float = 0.35
    least_s: float = 0.0
    _since_s: dict[str, tuple[bool, float]] = field(default_factory=dict[str, tuple[bool, float]])

    def __post_init__(self) -> None:
        if not 0 < self.off <= self.on < 1 or self.least_s < 0:
            raise UsageError(
                f"thresholds {self.on} and {self.off} with {self.least_s} s: give 0 < off <= on < 1"
            )

    def take(self, answer: Classification, source: str, at_s: float) -> Iterator[Switch]:
        """The changes that an answer makes.

        Args:
            answer: With a probability for each label.
            source: What was watched.
            at_s: Unix time of the answer.
        """
        shares = {row.label: row.probability for row in answer.predictions}
        for label in self.labels:
            share = shares.get(label, 0.0)
            is_on, since_s = self._since_s.get(label, (False, float("-inf")))
            turns = share < self.off if is_on else share >= self.on
            if not turns or at_s - since_s < self.least_s:
                continue
            self._since_s[label] = not is_on, at_s
            yield Switch(
                source,
                label,
                not is_on,
                round(share, 6),
                at_s,
                answer.start_s,
                answer.end_s,
                answer.model,
            )


@dataclass(frozen=True)
class Watch:
    """Source that is watched, and the limits of its labels.

    Attributes:
        source: A stream, a folder, or ``frigate+http://HOST:PORT``.
        request: The labels, and ``every_s``.
        on: Probability from which a label turns on.
        off: Probability below which it turns off.
        least_s: Seconds that a label stays as it is.
        settle_s: Seconds that a file of a folder must stay as it is.
        once: End when all that is there was answered; a stream ends by itself.
    """

    source: str
    request: ClassifyRequest
    on: float = 0.5
    off: float = 0.35
    least_s: float = 0.0
    settle_s: float = 3.0
    once: bool = False


@dataclass
class Receivers:
    """Receivers of changes, each with a queue on disk.

    Attributes:
        broker: The MQTT broker; None for none.
        webhook: Address; None for none.
        secret: Key of the webhook's signatures.
        queue: Folder of the queues; None for the cache.
        note: Called with a line where a delivery fails.
    """

    broker: Broker | None = None
    webhook: str | None = None
    secret: str = ""
    queue: Path | None = None
    note: Note = lambda text: None
    _deliveries: list[Delivery] = field(default_factory=list[Delivery])

    def begin(self, labels: Sequence[str], model: str) -> None:
        """Open the queues, deliver what waited, and state that all labels are off."""
        if self.broker is not None:
            configs = discovery(self.broker, labels, model)
            work = partial(publish_all, self.broker, configs)
            box = self._open(self.broker.key, work)
            for label in labels:
                box.put(self.broker.topic(slug(label), "state"), b"OFF", retain=True)
        if self.webhook is not None:
            self._open(self.webhook, partial(post_all, check_address(self.webhook), self.secret))

    def _open(self, key: str, work: Callable[[Outbox, threading.Event], None]) -> Outbox:
        name = f"{slug(key)}.sqlite"
        box = Outbox(key, None if self.queue is None else self.queue / name)
        self._deliveries.append(Delivery(box, work, self.note))
        return box

    def take(self, change: Switch, picture: bytes | None) -> None:
        """Put a change into the queues; it is on disk when this returns."""
        body = json.dumps(change.to_dict()).encode()
        for delivery in self._deliveries:
            box = delivery.outbox
            if self.broker is None or delivery is not self._deliveries[0]:
                box.put("", body)
                continue
            name = slug(change.label)
            state = b"ON" if change.on else b"OFF"
            box.put(self.broker.topic(name, "attributes"), body, retain=True)
            box.put(self.broker.topic(name, "state"), state, retain=True)
            box.put(self.broker.topic("event"), body)
            if picture is not None and change.on:
                box.put(self.broker.topic("picture"), picture, retain=True)

    def end(self) -> int:
        """Close the queues; returns how many messages wait for the next start."""
        return sum(delivery.end() for delivery in self._deliveries)


def run_watch(
    model: Model, watch: Watch, receivers: Receivers, stop: threading.Event | None = None
) -> Iterator[Classification | Failure | Switch]:
    """Answer about what comes, and let the changes of labels leave.

    Args:
        model: A model of the sensor ``video``.
        watch: What is watched.
        receivers: Those who get the changes.
        stop: Ends the watch when it is set.

    Yields:
        Each answer or failure, and each change that it makes.

    Raises:
        UsageError: the source, a threshold or an address cannot be used.
        DecodeError: the stream cannot be opened.
    """
    labels = model.recogniser.classifier(watch.request.label_set).labels
    states = LabelStates(labels, watch.on, watch.off, watch.least_s)
    receivers.begin(labels, model.name)
    picture: list[bytes] = []
    try:
        answers = _answers(model, watch, stop or threading.Event(), picture, receivers.note)
        for answer, name in answers:
            yield answer
            if isinstance(answer, Failure):
                continue
            for change in states.take(answer, name, time.time()):
                receivers.take(change, picture[-1] if picture else None)
                yield change
    finally:
        if waiting := receivers.end():
            receivers.note(f"{waiting} messages wait on disk for the next start")


def _answers(
    model: Model, watch: Watch, stop: threading.Event, picture: list[bytes], note: Note
) -> Iterator[tuple[Classification | Failure, str]]:
    """Answers with the name of what they are about; ``picture`` holds the latest one."""
    request = watch.request

    def show(clip: Clip) -> None:
        picture[:] = [jpeg(clip.data[len(clip.data) // 2])]

    if is_live(watch.source):
        name = shown_address(watch.source)
        streams = registry.shelf("plugins.streams.answers", name)
        for answer in streams.classify_live(model, watch.source, request, shown=show):
            if stop.is_set():
                return
            yield answer, name
        return
    recordings: Iterator[tuple[Path, str]]
    if frigate.is_frigate(watch.source):
        after_s = 0.0 if watch.once else None
        recordings = frigate.clips(watch.source, stop, after_s=after_s, once=watch.once, note=note)
    else:
        new = new_recordings(
            watch.source, model.modality, settle_s=watch.settle_s, once=watch.once, stop=stop
        )
        recordings = ((path, str(path)) for path in new)
    for path, name in recordings:
        for answer in model.recogniser.classify_each([path], request):
            yield answer, name


def jpeg(frame: np.ndarray) -> bytes:
    """A frame (H, W, 3) uint8 as JPEG, its longer side at most 640 pixels."""
    from PIL import Image

    image = Image.fromarray(frame)
    image.thumbnail((_JPEG_SIDE, _JPEG_SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue()
