"""Where databases may be attached, and how their passwords are had."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from db_knobs.address import Password, server_of
from service.database_hosts import DatabaseHosts
from service.databases import address_of
from service.passwords import Passwords
from service.settings import LOCAL_DATABASES, ServiceSettings
from service.store.errors import DatabaseUnusable, WrongField
from tunewright.session_views import Attachment

LISTED = ["db.example", "*.internal", "10.0.0.0/8", "192.168.1.7", "fd00::/8", "/run/postgresql"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "/run/postgresql"])
def test_this_machine_is_allowed_unless_told_otherwise(host: str) -> None:
    DatabaseHosts(LOCAL_DATABASES).check(host)


@pytest.mark.parametrize(
    "host",
    ["db.example", "DB.Example.", "a.internal", "a.b.internal", "10.1.2.3", "::ffff:10.1.2.3", "192.168.1.7",
     "fd00::1", "/run/postgresql", "/run/postgresql/15"],
)  # fmt: skip
def test_what_is_listed_is_allowed(host: str) -> None:
    DatabaseHosts(LISTED).check(host)


@pytest.mark.parametrize(
    "host",
    ["other.example", "db.example.evil", "xdb.example", "internal", "11.0.0.1", "192.168.1.8", "0.0.0.0", "127.0.0.1",
     "localhost", "2130706433", "0x7f.1", "10.1", "169.254.169.254", "/run", "/run/postgresql/../mysqld",
     "/run/postgresqlx", "@socket", "db.example,other.example", "10.0.0.1,evil", "db.example other", "db.example\n"],
)  # fmt: skip
def test_everything_else_is_refused_with_the_remedy(host: str) -> None:
    with pytest.raises(WrongField, match=r"TUNEWRIGHT_DATABASE_HOSTS|no single host") as caught:
        DatabaseHosts(LISTED).check(host)

    assert caught.value.field == "host"


@pytest.mark.parametrize("entry", ["", "10.0.0.1/8", "10.0.0.0/99", "a,b", "http://db"])
def test_a_list_that_means_nothing_is_refused_when_the_service_starts(entry: str) -> None:
    with pytest.raises(ValidationError, match="database_hosts"):
        ServiceSettings(database_hosts=[entry])


def test_one_server_has_one_spelling() -> None:
    local = {server_of(host, 5432) for host in ("localhost", "127.0.0.1", "::1", "/tmp", "LOCALHOST.", "127.0.0.2")}

    assert local == {"local:5432"}
    assert server_of("DB.example.", 1) == server_of("db.example", 1) != server_of("db.example", 2)
    assert server_of("::ffff:10.0.0.1", 1) == server_of("10.0.0.1", 1)


def attachment(**fields: Any) -> Attachment:
    return Attachment(name="prod", kind="postgresql", host="localhost", user="u", database="d", **fields)


def settings(tmp_path: Path, **fields: Any) -> ServiceSettings:
    (tmp_path / "data").mkdir(exist_ok=True)
    return ServiceSettings(data_dir=tmp_path / "data", **fields)


def row(source: str, text: str | None) -> Any:
    return SimpleNamespace(id="i" * 16, name="prod", password_from=source, password=text)


def test_a_password_that_was_sent_is_kept_encrypted_for_its_database_alone(tmp_path: Path) -> None:
    passwords = Passwords(settings(tmp_path))

    kept = passwords.keep(attachment(password=SecretStr("canary")), Password("canary"), "i" * 16)

    assert kept.source == "stored"
    assert "canary" not in f"{kept!r} {kept.text}"
    assert passwords.open(row("stored", kept.text)).secret == "canary"
    other = row("stored", kept.text)
    other.id = "j" * 16
    with pytest.raises(Exception, match="stored for something else"):
        passwords.open(other)


def test_references_are_kept_as_they_are_and_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    passwords = Passwords(settings(tmp_path, secrets_dir=secrets))
    name = "TUNEWRIGHT_DATABASE_PASSWORD_PROD"
    for secret in ("first", "second"):
        monkeypatch.setenv(name, secret)
        (secrets / "prod").write_text(f"{secret}\n")
        assert passwords.open(row("env", name)).secret == secret
        assert passwords.open(row("file", "prod")).secret == secret
    kept = passwords.keep(attachment(password_env=name), Password("second"), "i" * 16)
    assert (kept.source, kept.text) == ("env", name)
    assert passwords.open(row("none", None)).secret == ""


@pytest.mark.parametrize("name", ["TUNEWRIGHT_DATABASE_URL", "TUNEWRIGHT_DATABASE_HOSTS"])
def test_the_services_own_settings_are_nobodys_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    passwords = Passwords(settings(tmp_path))
    monkeypatch.setenv(name, "canary")

    with pytest.raises(WrongField, match="is a setting of the service") as caught:
        passwords.of(attachment(password_env=name), Password(""))

    assert "canary" not in str(caught.value)


def test_a_file_stays_in_the_directory_of_secrets(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (tmp_path / "outside").write_text("canary")
    (secrets / "link").symlink_to(tmp_path / "outside")
    (secrets / "empty").write_text("\n")
    (secrets / "large").write_text("x" * 2000)
    passwords = Passwords(settings(tmp_path, secrets_dir=secrets))

    for name, why in {
        "link": "leads out",
        "missing": "cannot be read",
        "empty": "holds no password",
        "large": "holds no password",
    }.items():
        with pytest.raises(DatabaseUnusable, match=why) as caught:
            passwords.open(row("file", name))
        assert "canary" not in str(caught.value)
    with pytest.raises(DatabaseUnusable, match="TUNEWRIGHT_SECRETS_DIR"):
        Passwords(settings(tmp_path)).open(row("file", "x"))


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://u:a/zq@db/shop", "postgresql://u:zq?x@db/shop", "postgresql://u:1#zq@db/shop", "zq",
     "postgresql://u:zq@zq@db/shop", "postgresql://u:zq@db:port/shop", "redis://u:zq@db/shop",
     "postgresql://u:12?zq=x@db/shop", "postgresql://db/zq", "postgresql://u:zq@db/a%00b",
     "postgresql://u:zq@db/shop?x=1", "postgresql://:zq@db/shop", "postgresql://u:zq@db/"],
)  # fmt: skip
def test_a_url_that_cannot_be_read_is_refused_and_not_shown(dsn: str) -> None:
    with pytest.raises(WrongField) as caught:
        address_of(Attachment(name="prod", dsn=SecretStr(dsn)))

    assert "zq" not in str(caught.value)


def test_a_url_says_what_the_parts_say() -> None:
    url = "postgresql://u:p%40ss@db.example:5433/shop?sslmode=verify-full"
    by_url = address_of(Attachment(name="a", dsn=SecretStr(url)))
    by_parts = address_of(
        Attachment(
            name="a", kind="postgresql", host="db.example", port=5433, user="u", database="shop", tls="verify-full"
        )
    )

    assert by_url.password.secret == "p@ss"
    assert str(by_url) == str(by_parts)
    assert (by_url.tls, by_parts.tls) == ("verify-full", "verify-full")
