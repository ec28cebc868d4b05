"""Stopping what runs in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Optional

from tensorflow.python.eager import cancellation as tensorflow_cancellation


class Cancelled(Exception):
    """What ran was stopped."""


class Cancellation:
    """Says, from any thread, that nobody waits any more for what another one computes."""

    def __init__(self):
        self._lock = threading.Lock()
        self._stop: Optional[Callable[[], None]] = None
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            if self._stop is not None:
                self._stop()

    def while_running(self, stop: Callable[[], None]) -> _Running:
        """A context in which cancelling calls `stop`.

        Raises:
            Cancelled: it has been cancelled already.
        """
        return _Running(self, stop)


class _Running:
    def __init__(self, cancellation: Cancellation, stop: Callable[[], None]):
        self._cancellation, self._stop = cancellation, stop

    def __enter__(self) -> None:
        with self._cancellation._lock:
            if self._cancellation._cancelled:
                raise Cancelled
            self._cancellation._stop = self._stop

    def __exit__(self, *error: object) -> None:
        with self._cancellation._lock:
            self._cancellation._stop = None


def call(function: Any, inputs: Mapping[str, Any], cancellation: Optional[Cancellation]) -> Any:
    """Calls a concrete function of TensorFlow; `cancellation` stops operations that can be.

    Raises:
        Cancelled: before the call began.
        tf.errors.CancelledError: while it ran.
        tf.errors.OpError: what else operations raise.
    """
    if cancellation is None:
        return function(**inputs)
    manager = tensorflow_cancellation.CancellationManager()
    with cancellation.while_running(manager.start_cancel):
        return manager.get_cancelable_function(function)(**inputs)


# From some version on TensorFlow keeps the manager of the call that runs in one variable of the
# process, where a call of another thread would find it. Here each thread has its own.
if hasattr(tensorflow_cancellation, "CancellationManagerContext"):
    _of_thread = threading.local()

    class _ManagerOfThread:
        def __init__(self, manager: tensorflow_cancellation.CancellationManager):
            self._manager = manager

        def __enter__(self) -> None:
            _of_thread.manager = self._manager

        def __exit__(self, *error: object) -> None:
            _of_thread.manager = None

    tensorflow_cancellation.CancellationManagerContext = _ManagerOfThread
    tensorflow_cancellation.context = lambda: getattr(_of_thread, "manager", None)
