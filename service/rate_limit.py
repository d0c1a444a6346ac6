"""Rate limits: a bucket of permits for each client, which fills at a steady rate and holds a burst.

Memory is bounded: the bucket that was used longest ago is forgotten, which at worst lets its client begin with a full
one. Clients with IPv6 addresses are told apart by their network: each has 2^64 addresses of its own.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

MAX_CLIENTS = 10_000


@dataclass
class _Bucket:
    permits: float
    at: float


class RateLimit:
    """How often clients may do something.

    Args:
        rate: permits a second for each client.
        burst: permits that a client has at first, and at most.
    """

    def __init__(self, rate: float, burst: float, max_clients: int = MAX_CLIENTS) -> None:
        self._rate = rate
        self._burst = burst
        self._max_clients = max_clients
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, client: str, now: float) -> float:
        """Take a permit.

        Args:
            now: seconds on a clock that never goes back.
        Returns:
            0 if there was one, else the seconds until there is.
        """
        bucket = self._filled(client, now)
        if bucket.permits < 1:
            return (1 - bucket.permits) / self._rate
        bucket.permits -= 1
        return 0.0

    def wait(self, client: str, now: float) -> float:
        """Seconds until a client has a permit; takes none."""
        bucket = self._buckets.get(client)
        if bucket is None:
            return 0.0
        return max(0.0, (1 - bucket.permits) / self._rate - (now - bucket.at))

    def _filled(self, client: str, now: float) -> _Bucket:
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(self._burst, now)
            if len(self._buckets) > self._max_clients:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(client)
        bucket.permits = min(self._burst, bucket.permits + (now - bucket.at) * self._rate)
        bucket.at = now
        return bucket


def client_of(address: str) -> str:
    """The client behind an address."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
