"""What Prometheus is told. Every label has few values, whatever users send."""

import contextlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil
import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from service.scheduler import Job, Outcome, Slice

if TYPE_CHECKING:
    from service.dependencies import Services

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STAGE_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)
_PICTURES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)
_COUNTS = (1, 2, 5, 10, 20, 50, 100)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Metrics:
    """The instruments of one app, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = made_in = CollectorRegistry()
        ProcessCollector(registry=made_in)
        self._requests = Counter("kshot_requests", "Answered requests.", ("route", "method", "code"), registry=made_in)
        self._request_seconds = Histogram(
            "kshot_request_seconds",
            "From a request's first byte to its answer.",
            ("route", "method"),
            buckets=_SECONDS,
            registry=made_in,
        )
        self.in_flight = Gauge("kshot_requests_in_flight", "Requests that are not answered yet.", registry=made_in)
        self._sheds = Counter("kshot_sheds", "Requests answered 429 or 503, by code.", ("code",), registry=made_in)
        self._batch_pictures = Histogram(
            "kshot_batch_pictures", "Pictures encoded in one turn.", buckets=_PICTURES, registry=made_in
        )
        self._batch_jobs = Histogram(
            "kshot_batch_jobs", "Requests whose pictures were encoded in one turn.", buckets=_COUNTS, registry=made_in
        )
        self._queue = self._stage("kshot_queue_seconds", "A request's wait for the device.")
        self._decode = self._stage("kshot_decode_seconds", "Decoding a request's pictures.")
        self._encode = self._stage("kshot_encode_seconds", "Encoding a request's pictures.", "model")
        self._predict = self._stage("kshot_predict_seconds", "Predicting a request's queries.", "model")
        self._adapt = self._stage("kshot_adapt_seconds", "Adapting to a support set.", "learner", "ways", "shots")
        self.out_of_memory = Counter("kshot_device_out_of_memory", "Batches the device had no memory for.",
                                     registry=made_in)  # fmt: skip

    def watch(self, services: "Services") -> None:
        """Also tell what the services hold at the time of being asked."""
        self.registry.register(_Held(services))

    def answered(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered, or its client left (status 499)."""
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route, method).observe(seconds)

    def shed(self, code: str) -> None:
        """A request was refused or dropped; `code` is of the errors' table."""
        self._sheds.labels(code).inc()

    def decoded(self, seconds: float) -> None:
        """A request's pictures were decoded."""
        self._decode.observe(seconds)

    def began_turn(self, slices: list[Slice]) -> None:
        """The device is given these to encode."""
        self._batch_pictures.observe(sum(part.stop - part.start for part in slices))
        self._batch_jobs.observe(len(slices))

    def finished(self, job: Job, outcome: Outcome) -> None:
        """A job came to its end."""
        card, timings = job.model.card, outcome.timings
        self._queue.observe(timings.queue)
        self._encode.labels(card.name).observe(timings.encode)
        if job.targets is not None:
            ways = job.targets.shape[1]
            self._adapt.labels(card.learner.name, _bucket(ways), _bucket(job.shots / ways)).observe(timings.adapt)
        if outcome.logits is not None:
            self._predict.labels(card.name).observe(timings.predict)

    def _stage(self, name: str, help_text: str, *labels: str) -> Histogram:
        return Histogram(name, help_text, labels, buckets=_STAGE_SECONDS, registry=self.registry)


class _Held(Collector):
    """What is held now: asked, not counted, so that it cannot drift."""

    def __init__(self, services: "Services") -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        services = self._services
        catalog, engine, states = services.catalog, services.engine, services.store.states
        yield GaugeMetricFamily(
            "kshot_ready", "Whether requests are answered.", value=float(services.not_ready() is None)
        )
        yield GaugeMetricFamily("kshot_models_loaded", "Models that answer.", value=len(catalog.models))
        yield GaugeMetricFamily("kshot_models_damaged", "Models that did not load.", value=len(catalog.damaged))
        yield GaugeMetricFamily(
            "kshot_queue_pictures", "Pictures of all requests being worked on.", value=engine.admitted
        )
        yield GaugeMetricFamily("kshot_queue_jobs", "Requests waiting for the device.", value=engine.waiting)
        yield GaugeMetricFamily("kshot_states", "Adapted states in memory.", value=len(states))
        yield GaugeMetricFamily("kshot_state_bytes", "Bytes of the adapted states in memory.", value=states.held_bytes)
        lookups = CounterMetricFamily("kshot_state_lookups", "Adapted states looked up in memory.", labels=("found",))
        lookups.add_metric(("yes",), states.hits)
        lookups.add_metric(("no",), states.misses)
        yield lookups
        encoded = engine.encoded
        yield GaugeMetricFamily("kshot_encoded_pictures", "Encoded pictures in memory.", value=len(encoded))
        yield GaugeMetricFamily(
            "kshot_encoded_bytes", "Bytes of the encoded pictures in memory.", value=encoded.held_bytes
        )
        recalled = CounterMetricFamily("kshot_encoded_lookups", "Pictures looked up in memory.", labels=("found",))
        recalled.add_metric(("yes",), encoded.hits)
        recalled.add_metric(("no",), encoded.misses)
        yield recalled
        yield _device_memory(services.settings.device)


def _device_memory(device: str) -> Metric:
    told = GaugeMetricFamily(
        "kshot_device_memory_bytes",
        "Of the GPU: by this process, and in all; where the CPU computes, of the machine.",
        labels=("kind",),
    )
    if device != "cuda":
        memory = psutil.virtual_memory()
        told.add_metric(("free",), memory.available)
        told.add_metric(("total",), memory.total)
        return told
    with contextlib.suppress(RuntimeError):  # a lost device answers nothing; the rest is still told
        free, total = torch.cuda.mem_get_info()
        told.add_metric(("allocated",), torch.cuda.memory_allocated())
        told.add_metric(("reserved",), torch.cuda.memory_reserved())
        told.add_metric(("free",), free)
        told.add_metric(("total",), total)
    return told


def _bucket(count: float) -> str:
    """The least of a few round numbers that is not below `count`, as a label: `5` is 3 to 5."""
    place = bisect_left(_COUNTS, count)
    return str(_COUNTS[place]) if place < len(_COUNTS) else "more"
