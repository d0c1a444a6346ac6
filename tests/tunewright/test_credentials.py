"""Where a client's token comes from, where it goes, and what is never said of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tunewright import ApiError, AsyncClient, Client, SpecError, _connection
from tunewright._credentials import default_file

TOKEN = "tw_0cq4m2v1k7ha_" + "canary7hunter2" * 3


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token, and no token in the environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for variable in ("TUNEWRIGHT_TOKEN", "TUNEWRIGHT_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def token_file(path: Path, text: str = TOKEN + "\n", mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def sent(**given: Any) -> str | None:
    """The credentials in a request."""
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json=[])

    with Client("http://service", transport=httpx.MockTransport(answer), **given) as client:
        client.optimizers()
    return seen[0]


def test_no_token_is_sent_where_there_is_none() -> None:
    assert sent() is None


def test_the_nearest_token_is_sent(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token_file(default_file(), "of-home")
    found = [sent()]
    monkeypatch.setenv("TUNEWRIGHT_TOKEN_FILE", str(token_file(home / "a", "of-variables-file")))
    found.append(sent())
    monkeypatch.setenv("TUNEWRIGHT_TOKEN", "of-variable")
    found.append(sent())
    found.append(sent(token_file=token_file(home / "b", "of-file")))
    found.append(sent(token="of-code", token_file=home / "absent"))

    assert found == [f"Bearer of-{place}" for place in ("home", "variables-file", "variable", "file", "code")]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_file_that_others_can_use_is_refused_without_quoting_it(home: Path, mode: int) -> None:
    token_file(default_file(), mode=mode)

    with pytest.raises(SpecError, match="chmod 600") as refused:
        Client("http://service")

    assert "canary" not in str(refused.value)


def test_a_file_that_is_named_must_be_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWRIGHT_TOKEN_FILE", str(home / "absent"))

    with pytest.raises(SpecError, match="absent: cannot be read"):
        Client("http://service")


@pytest.mark.parametrize("text", ["", "canary hunter", "canary\nhunter", "canary\u00e9", "canary\x00"])
def test_what_is_no_token_is_refused_without_quoting_it(home: Path, text: str) -> None:
    with pytest.raises(SpecError, match="as it was shown") as refused:
        Client("http://service", token_file=token_file(home / "a", text))

    assert "canary" not in str(refused.value)


def test_nothing_shows_the_token() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"title": "No valid token", "detail": "Send one."})

    with Client("http://service", transport=httpx.MockTransport(answer), token=TOKEN) as client:
        with pytest.raises(ApiError) as refused:
            client.optimizers()
        shown = f"{client!r} {vars(client)!r} {client._http!r} {client._http.headers!r} {refused.value!r}"

    assert "canary" not in shown


def test_the_async_client_and_streams_carry_it() -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(403, json={"title": "Not allowed"})

    async def follow() -> None:
        async with AsyncClient("http://service", transport=httpx.MockTransport(answer), token="t") as client:
            with pytest.raises(ApiError, match="Not allowed"):
                async for _ in client.events():
                    pass

    asyncio.run(follow())
    with (
        Client("http://service", transport=httpx.MockTransport(answer), token="t") as client,
        pytest.raises(ApiError, match="Not allowed"),
    ):
        next(client.events())

    assert seen == ["Bearer t"] * 2


# Being told to wait


def test_a_client_that_is_told_to_wait_waits_and_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tunewright.client.time.sleep", pauses.append)
    answers = [
        httpx.Response(429, json={"title": "Too many requests"}, headers={"Retry-After": "7"}),
        httpx.Response(429, json={"title": "Too many requests"}, headers={"Retry-After": "86400"}),
        httpx.Response(204),
    ]

    with Client("http://service", transport=httpx.MockTransport(lambda _: answers.pop(0))) as client:
        # Not to be sent twice where an answer is lost; a refused one was never begun.
        client.delete("s")

    assert 7 <= pauses[0] <= 7 + _connection.LONGEST_PAUSE
    assert _connection.LONGEST_ASKED <= pauses[1] <= _connection.LONGEST_ASKED + _connection.LONGEST_PAUSE


def test_a_client_that_is_always_told_to_wait_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunewright.client.time.sleep", lambda _: None)
    refused = httpx.Response(429, json={"title": "Too many requests"}, headers={"Retry-After": "1"})

    with (
        Client("http://service", transport=httpx.MockTransport(lambda _: refused)) as client,
        pytest.raises(ApiError, match="Too many requests") as error,
    ):
        client.optimizers()

    assert error.value.retry_after == 1
