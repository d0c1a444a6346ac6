"""The form of API tokens: `tw_`, an id and a secret, so that people and secret scanners know one when they see it.

    tw_0cq4m2v1k7ha_<52 letters and digits>

The id may be shown anywhere; the secret is shown once and never stored. A regular expression for scanners is
`tw_[0-9a-v]{12}_[0-9a-v]{52}`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

PREFIX = "tw"
ID_BYTES = 7
SECRET_BYTES = 32
_FORM = re.compile(rf"{PREFIX}_([0-9a-v]{{12}})_([0-9a-v]{{52}})")
# What no secret has as its digest.
NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Secret:
    """A token as its holder has it.

    Attributes:
        secret: kept out of `repr`, and so out of logs.
    """

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """What the holder is given, and sends."""
        return f"{PREFIX}_{self.id}_{self.secret}"

    @property
    def digest(self) -> str:
        """What is stored.

        A fast hash is right: a slow one makes guessing costly, and nobody guesses 256 random bits.
        """
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def matches(self, digest: str) -> bool:
        """Whether this is the secret with that digest; takes the same time wherever they differ."""
        return hmac.compare_digest(self.digest, digest)


def new() -> Secret:
    """A new token."""
    return Secret(_letters(ID_BYTES)[:12], _letters(SECRET_BYTES))


def parse(text: str) -> Secret | None:
    """The token in a text; None when it has not the form of one."""
    found = _FORM.fullmatch(text)
    return None if found is None else Secret(found[1], found[2])


def _letters(count: int) -> str:
    return base64.b32hexencode(secrets.token_bytes(count)).decode().rstrip("=").lower()
