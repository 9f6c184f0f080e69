"""What the server counts, for Prometheus."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # the client's own variable: where several processes keep their counts
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters in a registry of their own. With several workers each answer holds the sum over all of them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.requests = Counter("skipway_requests", "Requests answered.", ["path", "status"], registry=own)
        self.seconds = Histogram(
            "skipway_request_seconds", "From a request's head to its answer.", ["path"], buckets=SECONDS, registry=own
        )
        self.images = Counter("skipway_images", "Images by what became of them.", ["outcome"], registry=own)
        self.batch = Histogram("skipway_batch_images", "Images in a batch.", buckets=IMAGES, registry=own)
        self.stage = Histogram(
            "skipway_stage_seconds",
            "Decoding of an image; its time from arrival to its batch; computing of a batch; drawing of a request.",
            ["stage"],
            buckets=SECONDS,
            registry=own,
        )
        self.inside = Gauge(
            "skipway_images_inside", "Images accepted, not yet answered.", registry=own, multiprocess_mode="livesum"
        )

    def text(self) -> bytes:
        """Prometheus' text format."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        everyones = CollectorRegistry()
        MultiProcessCollector(everyones)
        return generate_latest(everyones)
