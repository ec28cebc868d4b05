"""What the server counts and measures, for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

import prometheus_client

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1)


class Metrics:
    """All metrics of a server; docs/serving.md lists them."""

    def __init__(self, batch_tokens: int):
        """Makes them, all zero.

        Args:
            batch_tokens: of a full batch.
        """
        self._batch_tokens = batch_tokens
        self._registry = prometheus_client.CollectorRegistry()
        self._requests = self._counter(
            "requests", "Requests that were answered", "protocol", "model", "code"
        )
        self._stages = self._histogram(
            "stage_seconds", "Time that requests spent in a stage", _SECONDS, "stage"
        )
        self._tokens = self._counter("tokens", "Tokens of sources and of hypotheses", "direction")
        self._in_flight = self._gauge("requests_in_flight", "Requests that are worked on")
        self._queue_sentences = self._gauge("queue_sentences", "Sentences that wait")
        self._queue_tokens = self._gauge("queue_tokens", "Tokens that wait")
        self._batch_sentences = self._histogram("batch_sentences", "Sentences of a batch", _SIZES)
        self._batch_fill = self._histogram(
            "batch_fill_ratio", "Tokens of a batch, of those that it may have", _SHARES
        )
        self._running = self._gauge("batches_running", "Batches that are computed")
        self._cancelled = self._counter("batches_cancelled", "Batches that nobody waited for")
        self._versions = self._gauge(
            "model_version_loaded", "1 for each version that is served", "model", "version"
        )
        self._failed_loads = self._counter(
            "model_load_failures", "Versions that could not be loaded", "model"
        )

    def _counter(self, name: str, text: str, *labels: str) -> prometheus_client.Counter:
        return prometheus_client.Counter(f"tf_ls_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(f"tf_ls_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: Sequence[float], *labels: str
    ) -> prometheus_client.Histogram:
        return prometheus_client.Histogram(
            f"tf_ls_{name}", text, labels, buckets=buckets, registry=self._registry
        )

    def exposition(self) -> bytes:
        """All of them in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry)

    def request_begins(self) -> None:
        self._in_flight.inc()

    def request_ends(self, protocol: str, model: str, code: str, seconds: float) -> None:
        """A request was answered.

        Args:
            protocol: rest or grpc.
            model: a name that exists, or nothing: what clients send is no label.
            code: of gRPC.
            seconds: from its first byte to its answer.
        """
        self._in_flight.dec()
        self._requests.labels(protocol, model, code).inc()
        self.stage("total", seconds)

    def stage(self, name: str, seconds: float) -> None:
        self._stages.labels(name).observe(seconds)

    def tokens(self, direction: str, count: int) -> None:
        """`direction` is in, of sources, or out, of hypotheses that are returned."""
        self._tokens.labels(direction).inc(count)

    def queue(self, sentences: int, tokens: int, running: int) -> None:
        """What waits, and how many batches run."""
        self._running.set(running)
        self._queue_sentences.set(sentences)
        self._queue_tokens.set(tokens)

    def batch(
        self,
        sentences: Sequence[int],
        tokens: int,
        waited: Sequence[float],
        seconds: float,
        *,
        cancelled: bool,
    ) -> None:
        """A batch has run; `sentences` and `waited` are of each of its items."""
        self._batch_sentences.observe(sum(sentences))
        self._batch_fill.observe(tokens / self._batch_tokens)
        for wait in waited:
            self.stage("queue", wait)
        self.stage("compute", seconds)
        if cancelled:
            self._cancelled.inc()

    def version_loaded(self, model: str, version: int, loaded: bool) -> None:
        if loaded:
            self._versions.labels(model, str(version)).set(1)
        else:
            self._versions.remove(model, str(version))

    def load_failed(self, model: str) -> None:
        self._failed_loads.labels(model).inc()
