"""Figures of one server for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
Gauges = Callable[[], dict[str, dict[str, float]]]


class Metrics:
    """Counts requests and their time; other figures are read when they are asked for.

    Args:
        gauges: By the name of a figure, its values by their label (``""`` for none).
    """

    def __init__(self, gauges: Gauges) -> None:
        self._registry = CollectorRegistry()
        names = ["route", "method", "status"]
        self._requests = Counter(
            "vlar_requests", "Requests by route, method and status.", names, registry=self._registry
        )
        self._seconds = Histogram(
            "vlar_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_BOUNDS_S,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_Gauges(gauges))

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request. ``route`` is its pattern, so that there are few of them."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All figures as Prometheus reads them."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Any]:
        for name, values in self._gauges().items():
            label = "name" if "" not in values else None
            family = GaugeMetricFamily(
                f"vlar_{name}", f"Now: {name.replace('_', ' ')}.", labels=[label] if label else []
            )
            for key, value in values.items():
                family.add_metric([key] if label else [], value)
            yield family
