"""What every request goes through, whichever protocol it came by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Optional

from tf_ls.serving.errors import ServingError, internal
from tf_ls.serving.predictor import Predictor

log = logging.getLogger(__name__)


class Answering:
    """A request's account: its model, its outcome, its time.

    Attributes:
        model: its name, once it is known to exist.
        version: its number, once it is chosen.
        code: of gRPC.
    """

    def __init__(self):
        self.model = ""
        self.version: Optional[int] = None
        self.code = "OK"


@contextlib.contextmanager
def answering(predictor: Predictor, protocol: str, method: str) -> Iterator[Answering]:
    """The context of a prediction: counts it, logs it, and makes ServingErrors of all errors.

    Raises:
        ServingError: whatever went wrong, as the client is told.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    account = Answering()
    metrics = predictor.metrics
    metrics.request_begins()
    message = ""
    try:
        with predictor.admitted():
            yield account
    except ServingError as error:
        account.code, message = error.code, error.message
        raise
    except asyncio.CancelledError:
        account.code, message = "CANCELLED", "the client has left"
        raise
    except Exception as error:
        account.code, message = "INTERNAL", "a defect"
        log.exception("a request failed")
        raise internal() from error
    finally:
        seconds = loop.time() - started
        metrics.request_ends(protocol, account.model, account.code, seconds)
        fields = {
            "protocol": protocol,
            "method": method,
            "model": account.model,
            "version": account.version,
            "code": account.code,
            "seconds": round(seconds, 6),
        }
        if account.code == "OK":
            log.debug("answered", extra=fields)
        elif account.code == "RESOURCE_EXHAUSTED":  # see Overload
            log.debug("not answered", extra={**fields, "reason": message})
        else:
            log.info("not answered", extra={**fields, "reason": message})
