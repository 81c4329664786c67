"""MQTT with the discovery of Home Assistant: a binary sensor a label, and a picture."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from vlar.apps.publish.outbox import Outbox
from vlar.errors import UsageError
from vlar.types import JsonDict
from vlar.version import __version__, is_installed, pip_install

_DISCOVERY = "homeassistant"
_PASSWORD = "VLAR_MQTT_PASSWORD"
_TIMEOUT_S = 10


@dataclass(frozen=True)
class Broker:
    """A broker, and the names below which vlar publishes there.

    Attributes:
        host: Name or address.
        port: Port of the broker.
        user: Name to log in with; empty for none.
        password: Password of the user.
        node: Name of this watch, which begins its topics: letters, digits, ``_``.
        encrypted: Whether the connection uses TLS.
    """

    host: str
    port: int
    user: str
    password: str
    node: str
    encrypted: bool

    @classmethod
    def parse(cls, address: str, node: str) -> Broker:
        """The broker of ``mqtt://USER@HOST:PORT``; ``mqtts`` encrypts.

        Raises:
            UsageError: it is not such an address, or aiomqtt is not installed.
        """
        if not is_installed("aiomqtt"):
            raise UsageError(f"--mqtt needs aiomqtt; run: {pip_install('mqtt')}")
        parts = urlsplit(address)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == -1:
            raise UsageError(
                f"--mqtt {address[:200]!r} is not mqtt://HOST or mqtt://USER@HOST:PORT"
            )
        encrypted = parts.scheme == "mqtts"
        password = unquote(parts.password or "") or os.environ.get(_PASSWORD, "")
        port = port or (8883 if encrypted else 1883)
        return cls(
            parts.hostname, port, unquote(parts.username or ""), password, slug(node), encrypted
        )

    @property
    def key(self) -> str:
        """Name of its queue."""
        return f"mqtt://{self.host}:{self.port}/{self.node}"

    def topic(self, *names: str) -> str:
        """A topic below those of this watch."""
        return "/".join(("vlar", self.node, *names))


def slug(text: str) -> str:
    """A text as a part of a topic.

    >>> slug("Riding a bike!"), slug("+/#")
    ('riding_a_bike', 'x')
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "x"


def discovery(broker: Broker, labels: Sequence[str], model: str) -> dict[str, JsonDict]:
    """Topics and contents by which Home Assistant makes the sensors.

    Args:
        broker: With the name of the watch.
        labels: One binary sensor each.
        model: Name of the model.
    """
    shared: JsonDict = {
        "availability_topic": broker.topic("availability"),
        "device": {
            "identifiers": [f"vlar_{broker.node}"],
            "name": f"vlar {broker.node}",
            "manufacturer": "vlar",
            "model": model,
            "sw_version": __version__,
        },
    }
    configs: dict[str, JsonDict] = {}
    for label in labels:
        name = slug(label)
        configs[f"{_DISCOVERY}/binary_sensor/vlar_{broker.node}/{name}/config"] = {
            **shared,
            "name": label,
            "unique_id": f"vlar_{broker.node}_{name}",
            "state_topic": broker.topic(name, "state"),
            "json_attributes_topic": broker.topic(name, "attributes"),
        }
    configs[f"{_DISCOVERY}/image/vlar_{broker.node}/picture/config"] = {
        **shared,
        "name": "picture",
        "unique_id": f"vlar_{broker.node}_picture",
        "image_topic": broker.topic("picture"),
        "content_type": "image/jpeg",
    }
    return configs


def publish_all(
    broker: Broker, configs: dict[str, JsonDict], outbox: Outbox, stop: threading.Event
) -> None:
    """Publish what waits, in order, each acknowledged by the broker, until ``stop`` is set.

    Args:
        broker: The broker.
        configs: Published at each connection, retained, before all else.
        outbox: The queue.
        stop: Ends it.

    Raises:
        OSError: the broker cannot be reached, or the connection broke off.
    """
    import aiomqtt

    try:
        asyncio.run(_published(broker, configs, outbox, stop))
    except (aiomqtt.MqttError, TimeoutError) as error:
        raise OSError(f"the broker {broker.host}:{broker.port}: {error}") from error


async def _published(
    broker: Broker, configs: dict[str, JsonDict], outbox: Outbox, stop: threading.Event
) -> None:
    import ssl

    import aiomqtt

    available = broker.topic("availability")
    login: dict[str, Any] = (
        {"username": broker.user, "password": broker.password} if broker.user else {}
    )
    async with aiomqtt.Client(
        broker.host,
        broker.port,
        **login,
        keepalive=15,
        timeout=_TIMEOUT_S,
        will=aiomqtt.Will(available, "offline", qos=1, retain=True),
        tls_context=ssl.create_default_context() if broker.encrypted else None,
    ) as client:
        for topic, config in configs.items():
            await client.publish(topic, json.dumps(config), qos=1, retain=True)
        await client.publish(available, "online", qos=1, retain=True)
        while not stop.is_set():
            message = outbox.first()
            if message is None:
                await asyncio.sleep(0.05)
                continue
            await client.publish(message.topic, message.body, qos=1, retain=message.retain)
            outbox.delivered(message)
        await client.publish(available, "offline", qos=1, retain=True)
