"""What trials have printed: in pieces, of which the first and the last of a trial are kept.

A position counts the characters from the beginning of a trial's log, also those that are no longer kept: where a piece
does not begin at the end of the one before, the characters between them were left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, Select, delete, insert, select

from service.store.tables import TrialLogRow
from workers.journal import Printed

HEAD_CHARACTERS = 1024 * 1024
TAIL_CHARACTERS = 1024 * 1024
# A piece is left out as a whole, and read as a whole.
PIECE_CHARACTERS = 64 * 1024


@dataclass(frozen=True)
class Stretch:
    """A part of a log without a gap.

    Attributes:
        start: position of its first character.
        whole: end of the log.
    """

    start: int
    text: str
    whole: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def append(connection: Connection, study_id: str, printed: Sequence[Printed]) -> None:
    """Add what trials have printed to the ends of their logs, and leave out what then is too much."""
    added: dict[int, list[str]] = {}
    for piece in printed:
        added.setdefault(piece.trial, []).append(piece.text)
    for trial, texts in added.items():
        begin = end = _end(connection, study_id, trial)
        rows = []
        for text in _pieces("".join(texts)):
            rows.append({"study_id": study_id, "trial": trial, "position": end, "size": len(text), "text": text})
            end += len(text)
        connection.execute(insert(TrialLogRow), rows)
        if end > HEAD_CHARACTERS + TAIL_CHARACTERS:
            _leave_out(connection, study_id, trial, begin, end)


def read(connection: Connection, study_id: str, trial: int, position: int, limit: int) -> Stretch:
    """At most `limit` characters from a position, or from behind the gap in which it lies."""
    whole = _end(connection, study_id, trial)
    found = connection.scalar(
        select(TrialLogRow.position)
        .where(
            TrialLogRow.study_id == study_id,
            TrialLogRow.trial == trial,
            TrialLogRow.position > position - PIECE_CHARACTERS,
            TrialLogRow.position + TrialLogRow.size > position,
        )
        .order_by(TrialLogRow.position)
        .limit(1)
    )
    if found is None:
        return Stretch(whole, "", whole)
    start = max(position, found)
    pieces = connection.execute(
        _of(study_id, trial)
        .where(TrialLogRow.position >= found, TrialLogRow.position < start + limit)
        .order_by(TrialLogRow.position)
    )
    text = _joined(pieces.all())[start - found :]
    return Stretch(start, text[:limit], whole)


def ending(connection: Connection, study_id: str, trial: int, limit: int) -> str:
    """The last characters of a log, at most `limit`."""
    whole = _end(connection, study_id, trial)
    found = connection.execute(
        _of(study_id, trial)
        .where(TrialLogRow.position > whole - limit - PIECE_CHARACTERS)
        .order_by(TrialLogRow.position)
    )
    return "".join(row.text for row in found)[-limit:]


def _end(connection: Connection, study_id: str, trial: int) -> int:
    last = connection.execute(
        select(TrialLogRow.position, TrialLogRow.size)
        .where(TrialLogRow.study_id == study_id, TrialLogRow.trial == trial)
        .order_by(TrialLogRow.position.desc())
        .limit(1)
    ).one_or_none()
    return 0 if last is None else int(last.position + last.size)


def _leave_out(connection: Connection, study_id: str, trial: int, begin: int, end: int) -> None:
    # Below `begin` the tail had its full length before, and pieces in front of it are gone already.
    before = max(HEAD_CHARACTERS, begin - TAIL_CHARACTERS - PIECE_CHARACTERS)
    connection.execute(
        delete(TrialLogRow).where(
            TrialLogRow.study_id == study_id,
            TrialLogRow.trial == trial,
            TrialLogRow.position >= before,
            TrialLogRow.position + TrialLogRow.size <= end - TAIL_CHARACTERS,
        )
    )


def _pieces(text: str) -> Iterator[str]:
    for begin in range(0, len(text), PIECE_CHARACTERS):
        yield text[begin : begin + PIECE_CHARACTERS]


def _of(study_id: str, trial: int) -> Select[int, int, str]:
    return select(TrialLogRow.position, TrialLogRow.size, TrialLogRow.text).where(
        TrialLogRow.study_id == study_id, TrialLogRow.trial == trial
    )


def _joined(rows: Sequence[Row[int, int, str]]) -> str:
    """The text of the first rows, as far as they have no gap between them."""
    texts: list[str] = []
    end = rows[0].position
    for row in rows:
        if row.position != end:
            break
        texts.append(row.text)
        end += row.size
    return "".join(texts)
