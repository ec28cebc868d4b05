"""When a queue has become a standing one."""

from __future__ import annotations

import logging
from typing import Optional

log = logging.getLogger(__name__)


class Overload:
    """Whether more comes than batches take.

    A burst may wait: it will be gone soon. If for some time there has always been more than the
    next batches take, waiting only makes every answer late. That holds until nobody has been
    refused for a while. The log says when it begins and when it is over, and not who is refused:
    those are too many.
    """

    def __init__(self, patience: float, memory: float = 5.0):
        """Begins without.

        Args:
            patience: seconds for which more may wait than the next batches take.
            memory: seconds without a refusal after which a burst may wait again.
        """
        self._patience, self._memory = patience, memory
        self._crowded_since: Optional[float] = None
        self._remembered_until = float("-inf")
        self._refused = 0

    def observe(self, crowded: bool, now: float) -> None:
        """Notes whether more waits at the moment than the next batches take."""
        if not crowded:
            self._crowded_since = None
        elif self._crowded_since is None:
            self._crowded_since = now
        if self._refused and not self.lasts(now):
            log.warning("overload is over", extra={"refused": self._refused})
            self._refused = 0

    def refused(self, now: float) -> None:
        """Notes that somebody was refused for this."""
        self._remembered_until = now + self._memory
        if not self._refused:
            log.warning("overload: requests are refused")
        self._refused += 1

    def lasts(self, now: float) -> bool:
        """Whether there is overload."""
        crowded_for = 0.0 if self._crowded_since is None else now - self._crowded_since
        return now < self._remembered_until or crowded_for > self._patience
