"""A shop's tables, for load of our own: customers, their orders, stock; the same on PostgreSQL and MariaDB.

At scale 1 there are 200,000 customers and 1,500,000 orders, about 400 MB. Contents follow from the scale alone.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from db_knobs.address import Address, Password, parse_dsn
from db_knobs.lab.mariadb import PrivateMariaDB
from db_knobs.lab.postgres import PrivatePostgres

DATABASE = "shop"
CLIENTS = "shop_clients"
DAYS = 365
REGIONS = 50
DISTRICTS = 100
# Neighbours in one column are strangers in another.
_STRIDE = 7919


@dataclass(frozen=True)
class Shop:
    """How large the tables are; ids run from 1.

    Attributes:
        scale: above 0.
    """

    scale: float = 1.0

    @property
    def customers(self) -> int:
        return max(1_000, round(200_000 * self.scale))

    @property
    def orders(self) -> int:
        return max(5_000, round(1_500_000 * self.scale))

    @property
    def items(self) -> int:
        return max(1_000, round(100_000 * self.scale))

    def load(self, server: PrivatePostgres | PrivateMariaDB) -> None:
        """Make the database and fill it; takes about 10 s at scale 1."""
        server.execute(f"CREATE DATABASE {DATABASE}")
        if isinstance(server, PrivatePostgres):
            for statement in self._postgres():
                server.execute(statement, DATABASE)
        else:
            server.execute(*self._mariadb(), database=DATABASE)

    def clients(self, server: PrivatePostgres | PrivateMariaDB) -> Address:
        """A new role for the clients; statistics leave out what the tuner's own role does."""
        password = f"canary-{secrets.token_hex(8)}"
        if isinstance(server, PrivatePostgres):
            server.execute(f"CREATE ROLE {CLIENTS} LOGIN PASSWORD '{password}'")
            for what in ("TABLES", "SEQUENCES"):
                server.execute(f"GRANT ALL ON ALL {what} IN SCHEMA public TO {CLIENTS}", DATABASE)
        else:
            server.execute(
                f"CREATE USER {CLIENTS}@'127.0.0.1' IDENTIFIED BY '{password}'",
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON {DATABASE}.* TO {CLIENTS}@'127.0.0.1'",
            )
        return replace(parse_dsn(server.dsn(DATABASE)), user=CLIENTS, password=Password(password))

    def _postgres(self) -> list[str]:
        pad = "repeat(md5(i::text), 3)"
        return [
            *_tables("text", "bigserial PRIMARY KEY"),
            self._customers(f"generate_series(1::bigint, {self.customers}) AS i", pad),
            self._orders(f"generate_series(1::bigint, {self.orders}) AS i", pad),
            self._stock(f"generate_series(1::bigint, {self.items}) AS i", pad),
            self._lines(f"generate_series(1::bigint, {self.orders}) AS i"),
            self._districts(f"generate_series(1::bigint, {DISTRICTS}) AS i", pad),
            *_indexes(),
            "VACUUM (ANALYZE)",
            "CHECKPOINT",
        ]

    def _mariadb(self) -> list[str]:
        pad = "repeat(md5(seq), 3)"
        # One session's; loading needs no lasting log.
        return [
            "SET SESSION unique_checks = 0",
            *_tables("varchar(100)", "bigint AUTO_INCREMENT PRIMARY KEY"),
            self._customers(f"(SELECT seq AS i FROM seq_1_to_{self.customers}) AS s", pad.replace("seq", "i")),  # nosec B608
            self._orders(f"(SELECT seq AS i FROM seq_1_to_{self.orders}) AS s", pad.replace("seq", "i")),  # nosec B608
            self._stock(f"(SELECT seq AS i FROM seq_1_to_{self.items}) AS s", pad.replace("seq", "i")),  # nosec B608
            self._lines(f"(SELECT seq AS i FROM seq_1_to_{self.orders}) AS s"),  # nosec B608
            self._districts(f"(SELECT seq AS i FROM seq_1_to_{DISTRICTS}) AS s", pad.replace("seq", "i")),  # nosec B608
            *_indexes(),
            "ANALYZE TABLE customers, orders, stock, order_lines, districts",
        ]

    def _customers(self, numbers: str, pad: str) -> str:
        return (
            f"INSERT INTO customers (id, region, balance, note) SELECT i, (i * {_STRIDE}) % {REGIONS}, 1000, {pad}"  # nosec B608
            f" FROM {numbers}"
        )

    def _orders(self, numbers: str, pad: str) -> str:
        day = f"(i - 1) * {DAYS} / {self.orders}"
        return (
            "INSERT INTO orders (id, customer, day, amount, note)"  # nosec B608
            f" SELECT i, (i * {_STRIDE}) % {self.customers} + 1, floor({day}), (i * 31) % 1000, {pad} FROM {numbers}"
        )

    def _stock(self, numbers: str, pad: str) -> str:
        return f"INSERT INTO stock (item, quantity, sold, note) SELECT i, 1000, 0, {pad} FROM {numbers}"  # nosec B608

    def _lines(self, numbers: str) -> str:
        return (
            "INSERT INTO order_lines (order_id, number, item, quantity)"  # nosec B608
            f" SELECT i, 1, (i * {_STRIDE}) % {self.items} + 1, i % 9 + 1 FROM {numbers}"
        )

    def _districts(self, numbers: str, pad: str) -> str:
        return f"INSERT INTO districts (id, orders, total, note) SELECT i, 0, 0, {pad} FROM {numbers}"  # nosec B608


def _tables(note: str, serial: str) -> list[str]:
    return [
        f"CREATE TABLE customers (id int PRIMARY KEY, region int, balance bigint, note {note})",
        f"CREATE TABLE orders (id int PRIMARY KEY, customer int, day int, amount int, note {note})",
        f"CREATE TABLE stock (item int PRIMARY KEY, quantity int, sold int, note {note})",
        "CREATE TABLE order_lines (order_id int, number int, item int, quantity int, PRIMARY KEY (order_id, number))",
        f"CREATE TABLE districts (id int PRIMARY KEY, orders int, total bigint, note {note})",
        f"CREATE TABLE placed (id {serial}, customer int, item int, quantity int)",
        f"CREATE TABLE payments (id {serial}, customer int, district int, amount int, note {note})",
    ]


def _indexes() -> list[str]:
    return [
        "CREATE INDEX orders_customer ON orders (customer)",
        "CREATE INDEX orders_day ON orders (day)",
        "CREATE INDEX customers_region ON customers (region)",
    ]
