"""Who is asking: the holder of a token, found by what was sent.

A token that was found valid is known for `KNOWN_SECONDS`, so that requests which follow each other cost no look into
the store; for so long at most a token that is revoked lets its holder in. Whoever sends wrong ones is soon not looked
at any more; tokens that are known are heard all the same, so that nobody is locked out by a neighbour. The same wrong
one sent again is no further guess: a page whose token was revoked sends it with every request that it has under way.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from sqlalchemy import Engine

from service.audit import AuditTrail
from service.caller import Caller
from service.rate_limit import RateLimit
from service.settings import ServiceSettings
from service.store import tokens
from service.tokens import Secret, parse

KNOWN_SECONDS = 3.0
MAX_KNOWN = 10_000
MAX_WRONG = 1_000
# Wrong tokens from one client: so many at once, and then one in so many seconds.
FAILURES = 10
FAILURE_SECONDS = 6.0
OPEN_SECONDS = 3.0


class TooManyFailures(Exception):
    """A client has sent so many wrong tokens that no further one is looked at for a while.

    Attributes:
        seconds: until the next one is.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"wait {seconds:.0f} s")


class Authenticator:
    """Finds the holder of a token; used from the event loop alone.

    Args:
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        engine: Engine,
        trail: AuditTrail,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self._trail = trail
        self._clock = clock
        self._failures = RateLimit(1 / FAILURE_SECONDS, FAILURES)
        self._known: OrderedDict[str, tuple[Caller, float]] = OrderedDict()
        # None of them becomes valid again.
        self._wrong: OrderedDict[tuple[str, str], None] = OrderedDict()
        always = settings.auth == "on" or settings.exposed
        # None: as soon as there is a token.
        self._required = False if settings.auth == "off" else (True if always else None)
        self._open_until = float("-inf")

    async def required(self) -> bool:
        """Whether a token is asked for."""
        if self._required is None and self._clock() >= self._open_until:
            if await self._any_token():
                # For good: revoking the last one must not open the service.
                self._required = True
            else:
                self._open_until = self._clock() + OPEN_SECONDS
        return bool(self._required)

    async def caller(self, sent: str, client: str) -> Caller | None:
        """The holder of a token or session; None when it is not valid, for whatever reason.

        Args:
            client: who sends it, for the limit on wrong ones.
        Raises:
            TooManyFailures: the client has sent too many wrong ones, and this one is not known.
        """
        secret = parse(sent)
        found = None if secret is None else self._recall(secret)
        if found is not None:
            return found
        if self._was_wrong(secret):
            return None
        wait = self._failures.wait(client, self._clock())
        if wait > 0:
            raise TooManyFailures(wait)
        found = None if secret is None else await self._find(secret)
        # Others that came with it may have been looked up meanwhile.
        if found is None and not self._was_wrong(secret):
            self._failures.take(client, self._clock())
            if secret is not None:
                self._wrong[secret.id, secret.digest] = None
                if len(self._wrong) > MAX_WRONG:
                    self._wrong.popitem(last=False)
        return found

    async def still_valid(self, sent: str) -> bool:
        """Whether a token that was valid still is."""
        secret = parse(sent)
        return secret is not None and (self._recall(secret) or await self._find(secret)) is not None

    def forget(self, sent: str) -> None:
        """Look into the store when this one is sent next."""
        secret = parse(sent)
        if secret is not None:
            self._known.pop(secret.digest, None)

    def _was_wrong(self, secret: Secret | None) -> bool:
        return secret is not None and (secret.id, secret.digest) in self._wrong

    def _recall(self, secret: Secret) -> Caller | None:
        # Found by its digest, of which nobody learns by how long that takes.
        entry = self._known.get(secret.digest)
        if entry is None:
            return None
        caller, at = entry
        over = caller.expires_at is not None and caller.expires_at <= time.time()
        return None if over or self._clock() - at >= KNOWN_SECONDS else caller

    async def _find(self, secret: Secret) -> Caller | None:
        embedded = self.engine.dialect.name == "sqlite"
        found = self._look_up(secret) if embedded else await asyncio.to_thread(self._look_up, secret)
        if found is None:
            self._known.pop(secret.digest, None)
            return None
        caller, used_before = found
        self._known[secret.digest] = caller, self._clock()
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        if caller.token is not None:
            self._trail.used(caller.token, used_before)
        return caller

    def _look_up(self, secret: Secret) -> tuple[Caller, float | None] | None:
        with self.engine.connect() as connection:
            return tokens.caller(connection, secret)

    async def _any_token(self) -> bool:
        def look() -> bool:
            with self.engine.connect() as connection:
                return tokens.any_token(connection)

        return look() if self.engine.dialect.name == "sqlite" else await asyncio.to_thread(look)
