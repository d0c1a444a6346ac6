"""Ids as people type them: whole, the beginning of one, or `last`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tunewright.cli.problems import Refused
from tunewright.client import Client
from tunewright.errors import ApiError

LAST = "last"
SHOWN = 5


def study_id(client: Client, given: str) -> str:
    """The id of the study that is meant.

    Raises:
        Refused: no study fits, or several do.
    """
    ids = (study.id for study in client.studies())
    begin = "submit one with: tunewright submit study.yaml"
    return _identified(given, "study", "studies", begin, lambda: client.study(given).id, ids)


def session_id(client: Client, given: str) -> str:
    """The id of the tuning session that is meant; as `study_id`."""
    ids = (session.id for session in client.sessions())
    begin = "begin one with: tunewright tune-db DATABASE"
    return _identified(given, "session", "sessions", begin, lambda: client.session(given).id, ids)


def database_id(client: Client, given: str) -> str:
    """The id of the attached database that is meant, by its id or its name.

    Raises:
        Refused: none has it, or those of several projects do.
    """
    fitting = [database for database in client.databases() if given in (database.id, database.name)]
    if not fitting:
        raise Refused(f'no attached database is called "{given}"; see: tunewright databases')
    if len(fitting) > 1:
        some = ", ".join(f"{database.id} in {database.project}" for database in fitting[:SHOWN])
        raise Refused(f'several databases are called "{given}"; name one by its id: {some}')
    return fitting[0].id


def trial_id(client: Client, given: str) -> str:
    """The id of the trial that is meant: `<study>-<number>`, the study's part as in `study_id`.

    Raises:
        Refused: it has not this form, or the study is not found.
    """
    study, dash, number = given.rpartition("-")
    if not dash or not number.isdigit():
        raise Refused(f'trial "{given}": a trial\'s id is <study>-<number>, such as last-0')
    return f"{study_id(client, study)}-{number}"


def _identified(given: str, one: str, many: str, begin: str, exact: Callable[[], str], ids: Iterable[str]) -> str:
    """An id, from one that is whole, the beginning of one, or `last`.

    Args:
        one, many, begin: what it is, the command that lists all, and how one is made; for messages.
        exact: the id, if `given` is whole; else an ApiError with status 404.
        ids: of all there are, newest first.
    """
    if given == LAST:
        newest = next(iter(ids), None)
        if newest is None:
            raise Refused(f"there is no {one} yet; {begin}")
        return newest
    try:
        return exact()
    except ApiError as error:
        if error.status != 404 or not given:
            raise
    fitting = [each for each in ids if each.startswith(given)]
    if not fitting:
        raise Refused(f'no {one}\'s id begins with "{given}"; see: tunewright {many}')
    if len(fitting) > 1:
        some = ", ".join(fitting[:SHOWN]) + (", ..." if len(fitting) > SHOWN else "")
        raise Refused(f'{len(fitting)} {many}\' ids begin with "{given}": {some}')
    return fitting[0]
