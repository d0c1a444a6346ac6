from __future__ import annotations

import pytest

from db_knobs.address import Address, Password, parse_dsn
from db_knobs.catalog import Host
from db_knobs.errors import AddressError
from db_knobs.host import host_of

SECRET = "canary-p@ss"


def test_a_dsn_is_read_in_parts() -> None:
    address = parse_dsn(
        "postgresql://o%27neil:canary-p%40ss@db.example:6432/shop%20one?sslmode=verify-full&sslrootcert=/ca"
    )

    assert address == Address(
        kind="postgresql",
        host="db.example",
        port=6432,
        user="o'neil",
        password=Password(SECRET),
        database="shop one",
        tls="verify-full",
        ca="/ca",
    )


@pytest.mark.parametrize(
    ("dsn", "kind", "port"),
    [
        ("postgres://u@h/d", "postgresql", 5432),
        ("mysql://u@h", "mysql", 3306),
        ("mariadb://u@h/d?ssl-mode=VERIFY_CA", "mariadb", 3306),
    ],
)
def test_ports_and_kinds_follow_the_scheme(dsn: str, kind: str, port: int) -> None:
    address = parse_dsn(dsn)

    assert (address.kind, address.port) == (kind, port)


@pytest.mark.parametrize(
    ("spelled", "tls"), [("DISABLED", "disable"), ("REQUIRED", "require"), ("VERIFY_IDENTITY", "verify-full")]
)
def test_tls_may_be_spelled_as_mysql_does(spelled: str, tls: str) -> None:
    assert parse_dsn(f"mysql://u@h/d?ssl-mode={spelled}").tls == tls


@pytest.mark.parametrize(
    ("dsn", "names"),
    [
        ("oracle://u:canary@h/d", "scheme"),
        ("postgresql://u:canary@h:99999/d", "dsn"),
        ("postgresql://u:canary@h:port/d", "dsn"),
        ("postgresql://u:canary@h:0/d", "address.port|dsn"),
        ("postgresql://:canary@h/d", "address.user"),
        ("postgresql://u:canary@/d", "address.host"),
        ("postgresql://u:canary@h", "address.database"),
        ("postgresql://u:canary@h/d?sslmode=maybe", "address.tls"),
        ("postgresql://u:canary@h/d?sslmode=verify-ca", "address.ca"),
        ("postgresql://u:canary@h/d?options=-c", "options"),
        ("postgresql://u:canary@[h/d", "dsn"),
        ("postgresql://u:canary@h/d#1", "dsn: what follows a # would be left out; write # as %23"),
        ("postgresql://u:canary@a,b/d", "dsn: it names several hosts; name the one"),
        ("postgresql://u:canary@a:5432,b:5433/d", "dsn: it names several hosts; name the one"),
        ("postgresql://u:canary@a%2Cb/d", "address.host: 'a,b' names several hosts; name the one"),
    ],
)
def test_a_wrong_dsn_names_the_part_and_never_the_password(dsn: str, names: str) -> None:
    with pytest.raises(AddressError, match=names) as caught:
        parse_dsn(dsn)

    assert "canary" not in f"{caught.value!s} {caught.value!r}"
    assert caught.value.__cause__ is None


def test_a_comma_in_a_password_is_no_second_host() -> None:
    assert parse_dsn("postgresql://u:one,two@h/d").password.secret == "one,two"


def test_a_password_never_shows() -> None:
    address = parse_dsn(f"mysql://u:{SECRET.replace('@', '%40')}@h/d")

    assert address.password.secret == SECRET
    for text in (str(address), repr(address), str(address.password), repr(address.password), f"{address.password}"):
        assert "canary" not in text


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.5", True),
        ("::1", True),
        ("/run/postgresql", True),
        ("db", False),
        ("10.0.0.1", False),
    ],
)
def test_a_server_on_this_machine_is_known(host: str, local: bool) -> None:
    address = Address(kind="mysql", host=host, port=3306, user="u")

    found = host_of(address, Host(cores=3))

    assert address.local is local
    assert found.cores == 3
    assert (found.ram_bytes is not None) is local
