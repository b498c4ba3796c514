"""What a server counts, for Prometheus."""

from __future__ import annotations

import prometheus_client as prometheus

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts, gauges and histograms of a server, with those of its process (memory, files)."""

    def __init__(self) -> None:
        self._registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        self.seconds = prometheus.Histogram(
            "kmax_request_seconds",
            "From the first byte of a request to its answer",
            ["signature"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests = prometheus.Counter(
            "kmax_requests", "Answers", ["signature", "status"], registry=registry
        )
        self.model_seconds = prometheus.Histogram(
            "kmax_model_seconds", "Calls of the model", buckets=_SECONDS, registry=registry
        )
        self.batch_images = prometheus.Histogram(
            "kmax_batch_images", "Images of a call", buckets=_IMAGES, registry=registry
        )
        self.queue = prometheus.Gauge(
            "kmax_queue_images", "Images that wait for the model", registry=registry
        )
        self.under_way = prometheus.Gauge(
            "kmax_requests_under_way", "Requests that are read or computed", registry=registry
        )
        self.version = prometheus.Gauge(
            "kmax_model_version", "Version that is served", registry=registry
        )
        self.failed_loads = prometheus.Counter(
            "kmax_failed_loads", "Versions that couldn't be loaded", registry=registry
        )

    def text(self) -> bytes:
        """Returns all of it in Prometheus' text format."""
        return prometheus.generate_latest(self._registry)


CONTENT_TYPE = prometheus.CONTENT_TYPE_LATEST
