"""Who makes a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from tunewright.access import DEFAULT_PROJECT, EVERY_PROJECT, Scope
from tunewright.errors import TunewrightError


class Forbidden(TunewrightError):
    """The caller is known and may not do this; the message says what would be needed."""


@dataclass(frozen=True)
class Caller:
    """The holder of a token, or whoever uses a service that asks for none.

    Attributes:
        token: id of the token; None without one.
        name: the token's name, or `local`.
        project: the only project that the caller sees; `*` sees all.
        expires_at: when the token ends, in seconds since the epoch; None never.
        session: id of the session in which a browser holds the token; None when the token itself was sent.
    """

    token: str | None
    name: str
    scope: Scope
    project: str
    expires_at: float | None = None
    session: str | None = None

    @property
    def only(self) -> str | None:
        """The project to which everything is confined; None when nothing is."""
        return None if self.project == EVERY_PROJECT else self.project

    def project_for(self, asked: str | None) -> str:
        """The project of a study that the caller submits.

        Args:
            asked: what the study says; None leaves it open.
        Raises:
            Forbidden: it is not the caller's.
        """
        return self.confined(asked) or DEFAULT_PROJECT

    def confined(self, asked: str | None) -> str | None:
        """The project to which a list is confined.

        Args:
            asked: what the request says; None leaves it open.
        Raises:
            Forbidden: it is not the caller's.
        """
        if self.only is None:
            return asked
        if asked not in (None, self.only):
            raise Forbidden(f'this token is for project "{self.only}"; leave project out, or use a token of "{asked}"')
        return self.only


# On a service that asks for no tokens everybody may do everything.
LOCAL = Caller(token=None, name="local", scope=Scope.ADMIN, project=EVERY_PROJECT)
