"""What every Database promises, on real servers, with a role that has exactly the rights that it asks for."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from db_knobs.address import Password
from db_knobs.attach import open_database
from db_knobs.database import Allowed, Database
from db_knobs.errors import (
    ConnectionLost,
    KnobRefused,
    LoginRefused,
    RightMissing,
    StatisticsReset,
    UnknownKnob,
    ValueRefused,
)
from db_knobs.knob import checked, same, to_space
from db_knobs.postgres_rights import GRANTABLE
from db_knobs.statistics import between, workload_between
from tests.db_knobs.sites import ROLE_PASSWORD, PostgresSite, Site, eventually, run


def test_wrong_password_is_a_refused_login_that_does_not_show_it(site: Site) -> None:
    address = replace(site.create_role(), password=Password("canary-wrong"))

    with pytest.raises(LoginRefused) as caught:
        open_database(address).connect()

    assert address.user in str(caught.value)
    assert "canary" not in f"{caught.value!s} {caught.value!r} {open_database(address)!r} {address!r}"


def test_nobody_listening_is_a_lost_connection(site: Site) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = replace(site.address, port=unused.getsockname()[1])

        with pytest.raises(ConnectionLost):
            open_database(address).connect()


def test_unknown_host_is_a_lost_connection_that_names_it(site: Site) -> None:
    with pytest.raises(ConnectionLost, match=r"no-such-host\.invalid"):
        open_database(replace(site.address, host="no-such-host.invalid")).connect()


def test_tls_that_the_server_lacks_is_a_refused_login(site: Site) -> None:
    with pytest.raises(LoginRefused, match="SSL"):
        open_database(replace(site.address, tls="require")).connect()


def test_a_role_without_rights_is_told_the_grants_that_make_everything_work(site: Site) -> None:
    database = open_database(site.create_role())
    name, value, _ = site.number
    probe = database.probe()

    assert not probe.can("apply")
    assert probe.missing
    with pytest.raises(RightMissing) as caught:
        database.apply({name: value})
    assert caught.value.grants
    assert ROLE_PASSWORD not in str(caught.value)

    site.execute(*probe.missing)
    database.connect()
    probe = database.probe()
    assert probe.missing == ()
    assert all(probe.can(what) for what in ("apply", "statements", "latency", "throughput"))
    former = database.former([name])
    assert database.apply({name: value}).settings == {name: value}
    assert database.restore(former).settings == {name: former[name]["value"]}
    database.close()


def test_the_grants_of_an_error_let_this_one_knob_be_set(site: Site) -> None:
    address = site.create_role()
    database = open_database(address)
    name, value, _ = site.number
    former = open_database(site.address).former([name])

    for _ in range(3):
        try:
            database.apply({name: value})
            break
        except RightMissing as error:
            site.execute(*error.grants)
    else:
        pytest.fail("the grants do not suffice")

    assert site.stands(name) == str(value)
    database.restore(former)
    database.close()


def test_probe_knows_the_server(site: Site, database: Database) -> None:
    probe = database.probe()

    assert probe.kind == ("postgresql" if isinstance(site, PostgresSite) else "mariadb")
    assert probe.version[0] >= 10
    assert f"{probe.version[0]}.{probe.version[1]}" in probe.version_text
    assert not probe.read_only
    assert not probe.replica
    assert probe.max_connections > 100
    assert probe.host.ram_bytes


def test_knobs_make_a_space_whose_default_is_what_stands(database: Database) -> None:
    knobs = database.knobs()

    space = to_space(knobs)

    assert len(knobs) >= 25
    stands = database.read([knob.name for knob in knobs])
    assert all(same(space.default()[name], value) for name, value in stands.items())
    assert checked(knobs, stands) == stands


def test_a_knob_of_another_name_or_kind_is_refused(site: Site, database: Database) -> None:
    with pytest.raises(UnknownKnob, match="no_such_knob"):
        database.knobs(Allowed(names=["no_such_knob"]))
    with pytest.raises(KnobRefused, match="never touched"):
        database.knobs(Allowed(names=[site.never]))
    with pytest.raises(KnobRefused, match="never touched"):
        database.apply({site.never: "x"})
    with pytest.raises(UnknownKnob):
        database.read(["no_such_knob"])


def test_applied_settings_are_seen_by_everybody_and_nothing_else_changes(site: Site, database: Database) -> None:
    before = site.all_settings()
    wanted = {site.number[0]: site.number[1], site.moving[0]: site.moving[1], site.switch[0]: site.switch[1]}

    applied = database.apply(wanted)

    assert {name: applied.settings[name] for name in wanted} == wanted
    assert database.read(list(wanted)) == wanted
    changed = {name for name, text in site.all_settings().items() if text != before[name]}
    # Those of the server's own counting.
    assert changed - {"gtid_binlog_pos"} == set(wanted)


def test_restore_puts_back_what_former_told_and_may_be_repeated(site: Site, database: Database) -> None:
    before = site.all_settings()
    names = [site.number[0], site.moving[0], site.switch[0]]
    former = database.former(names)

    database.restore(former)
    assert site.all_settings() == before
    database.apply({site.number[0]: site.number[1], site.moving[0]: site.moving[2], site.switch[0]: site.switch[1]})
    assert site.all_settings() != before
    for _ in range(2):
        applied = database.restore(former)
        assert site.all_settings() == before
        assert {name: setting["value"] for name, setting in former.items()} == applied.settings


def test_another_process_can_restore_half_of_what_was_applied(site: Site, database: Database) -> None:
    before = site.all_settings()
    former = database.former([site.number[0], site.moving[0]])
    database.apply({site.number[0]: site.number[1]})
    database.close()
    successor = open_database(site.address)

    successor.restore(former)

    assert site.all_settings() == before
    successor.close()


def test_a_refused_value_puts_back_those_before_it(site: Site, database: Database) -> None:
    before = site.all_settings()

    with pytest.raises(ValueRefused, match=site.refused[0]):
        database.apply({site.number[0]: site.number[1], site.refused[0]: site.refused[1]})

    assert site.all_settings() == before


def test_restore_after_somebody_restarted_the_server(site: Site, database: Database) -> None:
    former = database.former([site.number[0], site.moving[0]])
    before = site.stands(site.number[0])
    snapshot = database.measure()
    database.apply({site.number[0]: site.number[1]})

    site.private.restart()

    with pytest.raises(ConnectionLost):
        database.measure()
    with pytest.raises(StatisticsReset):
        between(snapshot, database.measure())
    database.restore(former)
    assert site.stands(site.number[0]) == before


def test_a_cut_connection_is_told_once_and_then_made_anew(site: Site, database: Database) -> None:
    role = replace(site.address, user=database.probe().role.partition("@")[0])
    assert database.lock("session")

    site.cut(role)

    with pytest.raises(ConnectionLost):
        database.measure()
    assert database.measure().counters
    assert not database.holds_lock()


def test_one_session_at_a_time_holds_the_lock(site: Site, database: Database) -> None:
    other = open_database(site.address)

    assert database.lock("first")
    assert database.holds_lock()
    assert not other.lock("second")
    assert not other.holds_lock()

    database.close()
    assert not database.holds_lock()
    # The server notices a moment later that somebody has gone.
    eventually(lambda: other.lock("second"))
    other.close()


def test_an_idle_database_commits_nothing_though_it_is_looked_at(database: Database) -> None:
    database.measure()
    first = database.measure()

    for _ in range(10):
        last = database.measure()

    metrics = between(first, last)
    assert metrics.seconds > 0
    assert metrics.throughput == pytest.approx(0, abs=1 / metrics.seconds)
    assert not metrics.statements_per_second


def test_measures_and_statements_are_those_of_others(site: Site, database: Database) -> None:
    site.forget_statements()
    connection = site.connect()
    # A connection counts what it did a second later, or when it ends.
    before, known = database.measure(), database.workload()
    for n in range(200):
        run(connection, f"SELECT note FROM orders WHERE customer = {n % 100}")
    connection.close()
    after = database.measure()

    metrics = between(before, after)
    ran = workload_between(known, database.workload())
    (reads,) = [statement for statement in ran.values() if "customer" in statement.text.lower()]
    assert reads.calls == 200
    assert reads.rows == 4000
    assert "note 1" not in reads.text
    assert metrics.throughput * metrics.seconds >= 199.5
    assert metrics.statements_per_second is not None
    assert metrics.statements_per_second * metrics.seconds == pytest.approx(200, abs=10)
    assert metrics.latency_mean_ms is not None
    assert 0 < metrics.latency_mean_ms < 1000


def test_estimates_tell_a_scan_from_a_look_up(site: Site, database: Database) -> None:
    role = database.probe().role.partition("@")[0]
    account = role if isinstance(site, PostgresSite) else f"{role}@'127.0.0.1'"
    site.execute(f"GRANT SELECT ON {'' if isinstance(site, PostgresSite) else 'shop.'}orders TO {account}")
    site.forget_statements()
    connection = site.connect()
    run(
        connection,
        "SELECT note FROM orders WHERE id = 7 LIMIT 5",
        "SELECT COUNT(*) FROM orders WHERE note <> 'a'",
        "SELECT o.id FROM orders o JOIN orders p ON p.id = o.customer WHERE o.note = 'note 7'",
        "UPDATE orders SET note = note WHERE id = 7",
    )
    connection.close()
    known = {name: statement for name, statement in database.workload().items() if "orders" in statement.text}

    estimated = {known[name].text.lower(): estimate for name, estimate in database.estimate(known).items()}

    def of(words: str) -> tuple[float, float]:
        (found,) = [estimate for text, estimate in estimated.items() if words in text]
        return found.rows, found.indexed

    assert of("limit") == (1, 1)
    assert of("count") == (pytest.approx(2000, rel=0.1), 0)
    assert of("join")[1] == 0.5
    assert not any("update" in text for text in estimated)


def test_a_role_that_lost_its_right_is_told_which(site: Site, database: Database) -> None:
    role = database.probe().role.partition("@")[0]
    name, value, other = site.number
    former = database.former([name])
    database.apply({name: value})
    if isinstance(site, PostgresSite):
        grantable = site.major >= GRANTABLE
        site.execute(
            f"REVOKE ALTER SYSTEM ON PARAMETER {name} FROM {role}" if grantable else f"ALTER ROLE {role} NOSUPERUSER"
        )
    else:
        site.execute(f"REVOKE SUPER ON *.* FROM {role}@'127.0.0.1'")
        database.connect()

    with pytest.raises(RightMissing) as caught:
        database.apply({name: other})
    with pytest.raises(RightMissing):
        database.restore(former)

    assert site.stands(name) == str(value)
    site.execute(*caught.value.grants)
    database.connect()
    assert database.restore(former).settings[name] == former[name]["value"]
