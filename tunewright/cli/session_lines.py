"""A session while it runs, in lines: one for each interval, each notice, and each change of its state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import takewhile

from rich.text import Text

from tunewright.cli import output, show, show_sessions
from tunewright.client import Client
from tunewright.session_views import IntervalView, NoticeView, SessionView

News = IntervalView | NoticeView


def follow(client: Client, session_id: str, seen: Callable[[News], None] = lambda _: None) -> SessionView:
    """Print what happens in a session until it is over; returns it as it ended.

    Args:
        seen: is told of every interval and notice, oldest first.
    """
    lines = _Lines(client)
    for session in client.watch_session(session_id):
        for news in lines.take(session):
            seen(news)
    return session


class _Lines:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._last = {IntervalView: -1, NoticeView: -1}
        self._told: tuple[str, str | None] | None = None
        self._settings: dict[str, object] | None = None

    def take(self, session: SessionView) -> Iterator[News]:
        """Print what is new; gives it, too."""
        if self._settings is None and session.former:
            self._settings = show_sessions.settings_before(session)
        news: list[News] = [
            *self._new(self._client.intervals(session.id)),
            *self._new(self._client.notices(session.id)),
        ]
        for each in sorted(news, key=lambda found: found.number):
            self._print(each, session)
            yield each
        told = (session.state.value, session.reason)
        if told != self._told:
            self._told = told
            _line(datetime.now().astimezone(), "state", show_sessions.standing(session), "cyan")

    def _new(self, newest_first: Iterator[News]) -> list[News]:
        found = list(takewhile(lambda each: each.number > self._last[type(each)], newest_first))
        if found:
            self._last[type(found[0])] = found[0].number
        return found

    def _print(self, news: News, session: SessionView) -> None:
        if isinstance(news, NoticeView):
            _line(news.at, "notice", show_sessions.notice(news), "yellow")
            return
        text = show_sessions.interval(news, session, self._settings or {})
        _line(news.at, "interval", text, "red" if news.unsafe else "dim" if news.skipped else "")
        if news.skipped is None:
            self._settings = {**(self._settings or {}), **news.config}


def _line(at: datetime, what: str, text: str, colour: str) -> None:
    if output.for_people():
        when = at.astimezone().strftime("%H:%M:%S")
        line = Text.assemble((f"{when}  {what:8}  ", "dim"), (output.plain(text), colour))
        output.console.print(line, soft_wrap=True)
    else:
        output.line(show.moment(at), what, text)
