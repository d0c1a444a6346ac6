"""Tables of interactions from published files: MovieLens in three sizes, Taobao's user behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data._interaction_table import Field, Interactions, in_time_order
from models.data.packages import Package, files
from tunewright.errors import WorkloadError

MOVIELENS_LIKED_FROM = 4.0
# What a Taobao behaviour says of how much the user wanted the item: a page view is an exposure.
TAOBAO_RATINGS = {"pv": 0.0, "fav": 1.0, "cart": 2.0, "buy": 3.0}
_AGES = (18, 25, 35, 45, 50, 56)

RECBOLE = Package(
    "recbole",
    "1.2.1",
    "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    licence="MovieLens: free for research, no redistribution (GroupLens); package: MIT",
    source="Harper and Konstan 2015, The MovieLens Datasets: History and Context; as shipped by RecBole",
)


def movielens_100k(path: Path | None = None) -> Interactions:
    """MovieLens-100k in RecBole's atomic files: 943 users, 1,682 films, genres as queries.

    Args:
        path: directory with `ml-100k.inter`, `.user` and `.item`; None takes them from the pinned package.
    """
    home = path or files(RECBOLE, "recbole/dataset_example/ml-100k")
    inter, people, films = (_rows(home / f"ml-100k.{kind}", "\t")[1:] for kind in ("inter", "user", "item"))
    return _movielens(
        np.array([[float(cell) for cell in row] for row in inter]),
        users={int(r[0]): {"age": _age(r[1]), "gender": r[2], "occupation": r[3], "zip": r[4][:1]} for r in people},
        films={int(r[0]): (r[2], r[3].split(" ")) for r in films},
    )


def movielens_1m(path: Path) -> Interactions:
    """MovieLens-1M as GroupLens ships it: a directory with `ratings.dat`, `users.dat` and `movies.dat`."""
    ratings = np.array([[float(cell) for cell in row] for row in _rows(path / "ratings.dat", "::")])
    people = _rows(path / "users.dat", "::")
    films = _rows(path / "movies.dat", "::")
    return _movielens(
        ratings,
        users={int(r[0]): {"gender": r[1], "age": r[2], "occupation": r[3], "zip": r[4][:1]} for r in people},
        films={int(r[0]): (_year(r[1]), r[2].split("|")) for r in films},
    )


def movielens_20m(path: Path) -> Interactions:
    """MovieLens-20M (or 25M, 32M) as GroupLens ships it: a directory with `ratings.csv` and `movies.csv`."""
    import csv as text_csv

    ratings = _columns(path / "ratings.csv", ("userId", "movieId", "rating", "timestamp"))
    with _open(path / "movies.csv") as file:
        films = {int(r["movieId"]): (_year(r["title"]), r["genres"].split("|")) for r in text_csv.DictReader(file)}
    return _movielens(np.column_stack([column.astype(np.float64) for column in ratings]), users={}, films=films)


def taobao(path: Path) -> Interactions:
    """Taobao's `UserBehavior.csv`: user, item, category, behaviour, time; no header. Categories are the queries.

    Anything stronger than a page view (a favourite, the cart, a purchase) is a click.
    """
    names = ("user", "item", "category", "behaviour", "timestamp")
    user, item, category, behaviour, timestamp = _columns(path, names, header=False)
    unknown = sorted(set(np.unique(behaviour)) - set(TAOBAO_RATINGS))
    if unknown:
        raise WorkloadError(
            f"data.path: {path}: behaviour {unknown[0]!r} is unknown; known: {', '.join(TAOBAO_RATINGS)}"
        )
    (_, users), (item_ids, items), (query_ids, queries) = (_numbered(column) for column in (user, item, category))
    kinds, which = np.unique(behaviour, return_inverse=True)
    category_of = np.zeros(len(item_ids), np.int32)
    category_of[items] = queries + 1
    return in_time_order(
        Interactions(
            users,
            items,
            queries,
            np.array([TAOBAO_RATINGS[kind] for kind in kinds], np.float32)[which],
            timestamp.astype(np.int64),
            liked_from=1.0,
            users=int(users.max(initial=-1)) + 1,
            items=len(item_ids),
            queries=len(query_ids),
            item_fields={"category": Field(category_of, len(query_ids) + 1)},
            item_queries=(np.arange(len(item_ids) + 1, dtype=np.int64), category_of - 1),
        )
    )


def _movielens(
    ratings: NDArray[np.float64], users: dict[int, dict[str, str]], films: dict[int, tuple[str, Sequence[str]]]
) -> Interactions:
    """Args: ratings (n, 4): user, film, rating, seconds; what is known of users and films (year, genres)."""
    user_ids, user = _numbered(ratings[:, 0].astype(np.int64))
    item_ids, item = _numbered(ratings[:, 1].astype(np.int64))
    genres = [films.get(int(film), ("", ["(none)"]))[1] or ["(none)"] for film in item_ids]
    names = sorted({genre for of_one in genres for genre in of_one})
    number = {name: code for code, name in enumerate(names)}
    pointers = np.concatenate([[0], np.cumsum([len(of_one) for of_one in genres])]).astype(np.int64)
    answers = np.array([number[genre] for of_one in genres for genre in of_one], np.int32)
    return in_time_order(
        Interactions(
            user,
            item,
            _asked(user_ids[user], item_ids[item], item, pointers, answers),
            ratings[:, 2].astype(np.float32),
            ratings[:, 3].astype(np.int64),
            liked_from=MOVIELENS_LIKED_FROM,
            users=len(user_ids),
            items=len(item_ids),
            queries=len(names),
            user_fields=_user_fields(user_ids, users),
            item_fields={
                "year": _field([films.get(int(film), ("", []))[0] for film in item_ids]),
                "decade": _field([films.get(int(film), ("", []))[0][:3] for film in item_ids]),
                "genre": _field([of_one[0] for of_one in genres]),
            },
            item_queries=(pointers, answers),
        )
    )


def _asked(
    user: NDArray[np.int64],
    film: NDArray[np.int64],
    item: NDArray[np.int32],
    pointers: NDArray[np.int64],
    answers: NDArray[np.int32],
) -> NDArray[np.int32]:
    """One genre of each film as the query: MovieLens records none, so one is drawn by a hash of user and film."""
    mixed = (user.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ (
        film.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    )
    count = (pointers[item + 1] - pointers[item]).astype(np.uint64)
    return answers[pointers[item] + ((mixed >> np.uint64(33)) % count).astype(np.int64)]


def _user_fields(ids: NDArray[np.int64], known: dict[int, dict[str, str]]) -> dict[str, Field]:
    names = list(next(iter(known.values()))) if known else []
    return {name: _field([known.get(int(user), {}).get(name, "") for user in ids]) for name in names}


def _field(values: Sequence[str]) -> Field:
    """Codes from 1 for the values in order; the empty one is 0, unknown."""
    names = ["", *sorted(set(values) - {""})]
    number = {name: code for code, name in enumerate(names)}
    return Field(np.array([number[value] for value in values], np.int32), len(names), tuple(names))


def _numbered(ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    known, codes = np.unique(ids, return_inverse=True)
    return known, codes.astype(np.int32)


def _age(text: str) -> str:
    """The lower end of the age's band, the bands of MovieLens-1M."""
    return str(max((age for age in _AGES if age <= int(text)), default=1))


def _year(title: str) -> str:
    year = title.rstrip()[-5:-1]
    return year if year.isdigit() else ""


def _rows(path: Path, delimiter: str) -> list[list[str]]:
    with _open(path) as file:
        return [line.rstrip("\r\n").split(delimiter) for line in file if line.strip()]


def _open(path: Path) -> Any:
    if not path.is_file():
        raise WorkloadError(f"data.path: {path} is not there: name the directory (for Taobao the file) as published")
    return path.open(encoding="latin-1", newline="")


def _columns(path: Path, names: Sequence[str], *, header: bool = True) -> list[NDArray[Any]]:
    """Columns of a large CSV file."""
    from pyarrow import csv

    _open(path).close()
    try:
        table = csv.read_csv(path, csv.ReadOptions(column_names=None if header else list(names)))
        return [table.column(name).to_numpy() for name in names]
    except (KeyError, ValueError) as error:
        raise WorkloadError(f"data.path: {path} has no such columns as {', '.join(names)}: {error}") from error
