"""Ids as people type them: whole, the beginning of one, or `last`."""

from __future__ import annotations

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
    if given == LAST:
        newest = next(client.studies(), None)
        if newest is None:
            raise Refused("there is no study yet; submit one with: tunewright submit study.yaml")
        return newest.id
    try:
        return client.study(given).id
    except ApiError as error:
        if error.status != 404 or not given:
            raise
    fitting = [study.id for study in client.studies() if study.id.startswith(given)]
    if not fitting:
        raise Refused(f'no study\'s id begins with "{given}"; see: tunewright studies')
    if len(fitting) > 1:
        some = ", ".join(fitting[:SHOWN]) + (", ..." if len(fitting) > SHOWN else "")
        raise Refused(f'{len(fitting)} studies\' ids begin with "{given}": {some}')
    return fitting[0]


def trial_id(client: Client, given: str) -> str:
    """The id of the trial that is meant: `<study>-<number>`, the study's part as in `study_id`.

    Raises:
        Refused: it has not this form, or the study is not found.
    """
    study, dash, number = given.rpartition("-")
    if not dash or not number.isdigit():
        raise Refused(f'trial "{given}": a trial\'s id is <study>-<number>, such as last-0')
    return f"{study_id(client, study)}-{number}"
