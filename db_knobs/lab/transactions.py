"""What the shop's clients do: transactions by name, on PostgreSQL and MariaDB alike where their SQL is the same.

`lookup` joins over many keys, `match` joins without an index, `wide` joins many tables and is mostly planning; `report`
groups, `ranking` sorts about as much as fits into one sort's memory by default; `order`, `payment` and `transfer`
write; `read` and `status` are short.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from db_knobs.address import Kind
from db_knobs.lab.shop import DAYS, DISTRICTS, REGIONS, Shop

KEYS = 300


class Cursor(Protocol):
    """What drivers have in common."""

    def execute(self, query: Any, params: Any = None, /) -> Any: ...
    def fetchall(self) -> Any: ...


@dataclass(frozen=True)
class Draw:
    """Where one transaction's keys come from.

    Attributes:
        span: the part of each table's keys that is in use, in (0, 1]: how much data is worked on.
    """

    random: random.Random
    shop: Shop
    span: float = 1.0

    @property
    def customer(self) -> int:
        return self._below(self.shop.customers)

    @property
    def order(self) -> int:
        return self._below(self.shop.orders)

    @property
    def item(self) -> int:
        return self._below(self.shop.items)

    @property
    def district(self) -> int:
        return self.random.randint(1, DISTRICTS)

    @property
    def amount(self) -> int:
        return self.random.randint(1, 500)

    def customers(self, count: int) -> list[int]:
        """Different ones, in order."""
        most = max(count, round(self.shop.customers * self.span))
        return sorted(self.random.sample(range(1, most + 1), count))

    def days(self, length: int) -> tuple[int, int]:
        """First and last day of a period."""
        last = max(length, round(DAYS * self.span))
        first = self.random.randint(0, last - length)
        return first, first + length - 1

    def _below(self, most: int) -> int:
        return self.random.randint(1, max(1, round(most * self.span)))


Transaction: TypeAlias = Callable[[Cursor, Draw], None]


def _rows(cursor: Cursor, query: str, values: Sequence[Any] = ()) -> Any:
    cursor.execute(query, values)
    return cursor.fetchall()


def _customer(cursor: Cursor, draw: Draw) -> None:
    _rows(cursor, "SELECT balance, note FROM customers WHERE id = %s", [draw.customer])


def _read(cursor: Cursor, draw: Draw) -> None:
    for _ in range(10):
        _rows(cursor, "SELECT customer, amount, note FROM orders WHERE id = %s", [draw.order])


def _status(cursor: Cursor, draw: Draw) -> None:
    customer = draw.customer
    _rows(cursor, "SELECT balance FROM customers WHERE id = %s", [customer])
    _rows(
        cursor,
        "SELECT o.id, o.amount, l.item, l.quantity FROM orders o JOIN order_lines l ON l.order_id = o.id"
        " WHERE o.customer = %s ORDER BY o.id DESC LIMIT 10",
        [customer],
    )


def _lookup(join: str) -> Transaction:
    """Point reads, one small update, and a join over many keys."""

    def run(cursor: Cursor, draw: Draw) -> None:
        for _ in range(3):
            _customer(cursor, draw)
        cursor.execute("UPDATE customers SET balance = balance + %s WHERE id = %s", [draw.amount, draw.customer])
        _rows(cursor, join, [draw.customers(KEYS)])

    return run


def _transfer(cursor: Cursor, draw: Draw) -> None:
    customer, district, amount = draw.customer, draw.district, draw.amount
    cursor.execute("UPDATE customers SET balance = balance - %s WHERE id = %s", [amount, customer])
    _rows(cursor, "SELECT balance FROM customers WHERE id = %s", [customer])
    cursor.execute("UPDATE districts SET total = total + %s WHERE id = %s", [amount, district])
    cursor.execute(
        "INSERT INTO payments (customer, district, amount, note) VALUES (%s, %s, %s, %s)",
        [customer, district, amount, "transfer"],
    )


def _order(cursor: Cursor, draw: Draw) -> None:
    """Takes items in the order of their numbers, so that two orders do not wait for each other in a circle."""
    customer = draw.customer
    _customer(cursor, draw)
    for item in sorted({draw.item for _ in range(draw.random.randint(5, 15))}):
        quantity = draw.random.randint(1, 9)
        _rows(cursor, "SELECT quantity FROM stock WHERE item = %s", [item])
        cursor.execute(
            "UPDATE stock SET quantity = quantity - %s, sold = sold + %s WHERE item = %s", [quantity, quantity, item]
        )
        cursor.execute("INSERT INTO placed (customer, item, quantity) VALUES (%s, %s, %s)", [customer, item, quantity])
    cursor.execute("UPDATE districts SET orders = orders + 1 WHERE id = %s", [draw.district])


def _payment(cursor: Cursor, draw: Draw) -> None:
    customer, district, amount = draw.customer, draw.district, draw.amount
    cursor.execute("UPDATE customers SET balance = balance - %s WHERE id = %s", [amount, customer])
    cursor.execute("UPDATE districts SET total = total + %s WHERE id = %s", [amount, district])
    cursor.execute(
        "INSERT INTO payments (customer, district, amount, note) VALUES (%s, %s, %s, %s)",
        [customer, district, amount, "payment"],
    )


def _report(cursor: Cursor, draw: Draw) -> None:
    """What regions spent in a week."""
    _rows(
        cursor,
        "SELECT c.region, count(*), sum(o.amount) AS spent FROM orders o JOIN customers c ON c.id = o.customer"
        " WHERE o.day BETWEEN %s AND %s GROUP BY c.region ORDER BY spent DESC",
        draw.days(7),
    )


def _ranking(cursor: Cursor, draw: Draw) -> None:
    """Customers of one region with all their orders, sorted: more than a sort's memory holds."""
    _rows(
        cursor,
        "SELECT max(n), sum(spent) FROM (SELECT row_number() OVER (ORDER BY o.note, o.amount) AS n, o.amount AS spent"
        " FROM orders o JOIN customers c ON c.id = o.customer WHERE c.region BETWEEN %s AND %s) AS sorted",
        _regions(draw, 1),
    )


def _match(cursor: Cursor, draw: Draw) -> None:
    """Items with the same note: a join without an index."""
    few, many = draw.item, draw.item
    _rows(
        cursor,
        "SELECT count(*) FROM stock a JOIN stock b ON b.note = a.note"
        " WHERE a.item BETWEEN %s AND %s AND b.item BETWEEN %s AND %s",
        [few, few + 200, many, many + 3_000],
    )


def _wide(cursor: Cursor, draw: Draw) -> None:
    """One customer's orders beside others': ten tables, few rows; planning is most of the work."""
    _rows(
        cursor,
        "SELECT count(*), sum(s.quantity), sum(s2.sold) FROM orders o"
        " JOIN customers c ON c.id = o.customer JOIN order_lines l ON l.order_id = o.id JOIN stock s ON s.item = l.item"
        " JOIN orders o2 ON o2.id = o.amount + 1 JOIN customers c2 ON c2.id = o2.customer"
        " JOIN order_lines l2 ON l2.order_id = o2.id JOIN stock s2 ON s2.item = l2.item"
        " JOIN districts d ON d.id = c.region + 1 JOIN districts d2 ON d2.id = c2.region + 1 WHERE o.customer = %s",
        [draw.customer],
    )


def _regions(draw: Draw, count: int) -> tuple[int, int]:
    first = draw.random.randint(0, REGIONS - count)
    return first, first + count - 1


_COMMON: Mapping[str, Transaction] = {
    "read": _read,
    "status": _status,
    "transfer": _transfer,
    "order": _order,
    "payment": _payment,
    "report": _report,
    "ranking": _ranking,
    "match": _match,
    "wide": _wide,
}
_JOIN = "SELECT count(*), sum(o.amount) FROM customers c JOIN orders o ON o.customer = c.id WHERE c.id {keys}"


def transactions(kind: Kind) -> Mapping[str, Transaction]:
    """What clients of a server can do."""
    keys = "= ANY(%s)" if kind == "postgresql" else "IN %s"
    return {"lookup": _lookup(_JOIN.format(keys=keys)), **_COMMON}
