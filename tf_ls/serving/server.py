"""The server as a process: it starts, serves until it is told to stop, and finishes its work."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
from pathlib import Path
from typing import Optional

import tensorflow as tf
from aiohttp import web

from tf_ls.serving.batch_queue import Budget
from tf_ls.serving.batcher import Batcher
from tf_ls.serving.limits import Limits
from tf_ls.serving.metrics import Metrics
from tf_ls.serving.model_store import ModelStore
from tf_ls.serving.page_files import Page
from tf_ls.serving.predictor import Predictor, Servable
from tf_ls.serving.rest import Rest
from tf_ls.serving.security import Certificate
from tf_ls.serving.version_labels import VersionLabels

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to serve; docs/serving.md has the flags."""

    path: Path
    name: Optional[str] = None
    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: Optional[int] = 8500
    """0: any that is free, as for REST; None: no gRPC."""

    poll_seconds: float = 1.0
    versions: int = 1
    version_labels: Optional[Path] = None
    """A file; see VersionLabels."""

    budget: Budget = dataclasses.field(default_factory=lambda: Budget(2048, 16))
    batch_wait: float = 0.002
    concurrency: int = 1
    limits: Limits = dataclasses.field(default_factory=Limits)
    read_timeout: float = 30.0
    drain_wait: float = 1.0
    """Seconds between being told to stop and taking no more requests."""

    drain_timeout: float = 30.0
    """Seconds in which what was taken must be finished then."""

    certificate: Optional[Certificate] = None
    token: Optional[str] = dataclasses.field(default=None, repr=False)
    page: bool = True
    """Whether there is a page for people."""


class Server:
    """A server; `serve` is its life."""

    def __init__(self, settings: Settings):
        """Looks for models, and starts nothing.

        Raises:
            ValueError: there are none.
            OSError: a file cannot be read.
        """
        self._settings = settings
        self._metrics = Metrics(settings.budget.tokens)
        self._store = ModelStore(
            settings.path,
            name=settings.name,
            load=Servable,
            keep=settings.versions,
            metrics=self._metrics,
            labels=VersionLabels(settings.version_labels),
        )
        self._batcher = Batcher(
            settings.budget,
            wait=settings.batch_wait,
            concurrency=settings.concurrency,
            limits=settings.limits,
            metrics=self._metrics,
        )
        self._predictor = Predictor(self._store, self._batcher, settings.limits, self._metrics)
        self._tls = settings.certificate.context() if settings.certificate else None
        self._stop = asyncio.Event()
        self._forced = asyncio.Event()
        self._draining = False

    async def serve(self) -> None:
        """Serves until a signal comes, SIGTERM or SIGINT; a second one ends it at once.

        Raises:
            RuntimeError: no model could be loaded.
            OSError: a port is taken.
        """
        # A model's call holds one of TensorFlow's threads for as long as it takes. There must be
        # others: for text, of a stream, too, for a version that is being loaded.
        threads = max(os.cpu_count() or 1, 2 * self._settings.concurrency + 2)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        runner = await self._start_rest()
        grpc = await self._start_grpc()
        refreshing = loop.create_task(self._load_and_refresh())
        stopping = loop.create_task(self._stop.wait())
        await asyncio.wait({refreshing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if refreshing.done():
                refreshing.result()  # it ends only by failing
            await self._drain()
        finally:
            refreshing.cancel()
            stopping.cancel()
            self._batcher.abort()
            if grpc is not None:
                await grpc.stop(1.0)
            await runner.cleanup()
            self._store.close()
        log.info("stopped")

    def _told_to_stop(self) -> None:
        (self._forced if self._stop.is_set() else self._stop).set()

    async def _load_and_refresh(self) -> None:
        await self._store.start()
        if not self._store.loaded:
            raise RuntimeError("no model could be loaded")
        log.info("serving", extra={"models": self._store.names})
        await self._store.refresh_forever(self._settings.poll_seconds)

    def _ready(self) -> bool:
        return self._store.ready and not self._draining

    async def _start_rest(self) -> web.AppRunner:
        settings = self._settings
        rest = Rest(
            self._predictor,
            token=settings.token,
            ready=self._ready,
            read_timeout=settings.read_timeout,
            page=Page() if settings.page else None,
        )
        # A handler whose client has left is cancelled.
        runner = web.AppRunner(
            rest.application(), access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await runner.setup()
        site = web.TCPSite(
            runner, settings.host, settings.rest_port, ssl_context=self._tls, backlog=1024
        )
        await site.start()
        log.info("REST listens", extra={"host": settings.host, "port": runner.addresses[0][1]})
        return runner

    async def _start_grpc(self):
        settings = self._settings
        if settings.grpc_port is None:
            return None
        from tf_ls.serving import grpc_service

        server, port = await grpc_service.start(
            self._predictor,
            host=settings.host,
            port=settings.grpc_port,
            certificate=settings.certificate,
            token=settings.token,
        )
        log.info("gRPC listens", extra={"host": settings.host, "port": port})
        return server

    async def _drain(self) -> None:
        """Finishes what was taken, in the time that there is."""
        loop = asyncio.get_running_loop()
        self._draining = True
        log.info("told to stop", extra={"in_flight": self._predictor.in_flight})
        await self._pause(self._settings.drain_wait)
        self._predictor.close()
        end = loop.time() + self._settings.drain_timeout
        while self._predictor.in_flight and loop.time() < end and not self._forced.is_set():
            await self._pause(0.02)
        if self._predictor.in_flight:
            log.warning("given up", extra={"in_flight": self._predictor.in_flight})

    async def _pause(self, seconds: float) -> None:
        """Waits, but not for who insists."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._forced.wait(), seconds)
