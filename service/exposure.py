"""Under which conditions the service may be reached from other machines: encrypted, and with tokens."""

from __future__ import annotations

import logging

from sqlalchemy import Engine

from service.settings import ServiceSettings
from service.store import tokens
from service.store.tokens import Token
from tunewright.errors import TunewrightError

log = logging.getLogger(__name__)


class Exposed(TunewrightError):
    """The service would be open to whoever can reach it; the message says what to set."""


def require_encryption(settings: ServiceSettings) -> None:
    """Check the settings alone.

    Raises:
        Exposed: tokens would travel unencrypted, or none would be asked for.
    """
    if (settings.tls_certificate is None) is not (settings.tls_key is None):
        raise Exposed("tls_certificate: stands with tls_key, and that with it; give both or neither")
    if not settings.exposed:
        return
    if settings.auth == "off":
        raise Exposed(
            f'auth "off": with host "{settings.host}" or tls_proxies the service can be reached from other machines; '
            "leave auth out, or let it listen on 127.0.0.1"
        )
    if not settings.tls:
        raise Exposed(
            f'host "{settings.host}": tokens must not travel unencrypted; give TUNEWRIGHT_TLS_CERTIFICATE and '
            "TUNEWRIGHT_TLS_KEY, or name the proxy that speaks HTTPS in front of the service in "
            "TUNEWRIGHT_TLS_PROXIES (such as '[\"10.0.0.5\"]'), or leave --host out"
        )


def require_tokens(settings: ServiceSettings, engine: Engine, now: float) -> None:
    """Check that a service that can be reached from elsewhere has a token which lets somebody in.

    Raises:
        Exposed: it has none.
    """
    with engine.connect() as connection:
        found = tokens.tokens(connection)
    if settings.exposed and not _any_valid(found, now):
        raise Exposed(
            "there is no valid token, and the service can be reached from other machines; make one first: "
            "tunewright token create NAME --scope admin --project '*'"
        )
    if settings.auth == "auto" and settings.allowed_hosts and not found:
        log.warning(
            "allowed_hosts is set and there is no token: whoever reaches the service by %s may do everything; "
            "make a token (tunewright token create), or set TUNEWRIGHT_AUTH=on",
            ", ".join(settings.allowed_hosts),
        )


def _any_valid(found: list[Token], now: float) -> bool:
    return any(token.state(now) == "valid" for token in found)
