from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from models.data.interactions import Interactions, generate, in_time_order, load, split_globally, split_per_user
from models.recsys.ranking import auc
from tunewright.errors import WorkloadError


def table(user, timestamp, rating=None):
    n = len(user)
    return Interactions(
        np.array(user, np.int32),
        np.arange(n, dtype=np.int32),
        np.zeros(n, np.int32),
        np.ones(n, np.float32) if rating is None else np.array(rating, np.float32),
        np.array(timestamp, np.int64),
        liked_from=1.0,
        users=max(user) + 1,
        items=n,
        queries=1,
    )


def test_a_global_split_learns_from_nothing_later_than_what_it_is_judged_by():
    split = split_globally(generate(50, 40, 8, 2_000, seed=3))

    assert split.train.timestamp.max() < split.valid.timestamp.min()
    assert split.valid.timestamp.max() < split.test.timestamp.min()
    assert len(split.train) + len(split.valid) + len(split.test) == 2_000
    assert [part.part for part in (split.train, split.valid, split.test)] == ["train", "valid", "test"]


def test_rows_of_the_same_second_are_never_parted():
    times = [1] * 8 + [2] * 9 + [3] * 3

    for split in (split_globally(table([0] * 20, times), 0.3, 0.3), split_per_user(table([0] * 20, times), 0.3, 0.3)):
        parts = [set(part.timestamp.tolist()) for part in (split.train, split.valid, split.test)]
        assert len(set.union(*parts)) == sum(len(times) for times in parts)


def test_a_split_per_user_keeps_each_users_last_rows():
    rng = np.random.default_rng(0)
    split = split_per_user(table(rng.integers(5, size=300).tolist(), rng.permutation(300).tolist()))

    for user in range(5):
        times = [part.timestamp[part.user == user] for part in (split.train, split.valid, split.test)]
        assert times[0].max() < times[1].min()
        assert times[1].max() < times[2].min()


def test_rows_out_of_order_are_sorted_by_time():
    ordered = in_time_order(table([0, 1, 2], [30, 10, 20]))

    assert ordered.timestamp.tolist() == [10, 20, 30]
    assert ordered.user.tolist() == [1, 2, 0]


def test_a_split_that_leaves_a_part_empty_says_so():
    with pytest.raises(WorkloadError, match=r"data\.split: no rows are left for the valid part"):
        split_globally(table([0, 0, 0], [5, 5, 5]))
    with pytest.raises(WorkloadError, match=r"data\.split: shares"):
        split_globally(table([0, 0], [1, 2]), 0.6, 0.5)


def test_numbers_out_of_range_and_columns_of_different_length_are_refused():
    with pytest.raises(WorkloadError, match="user numbers must lie between 0 and 0"):
        Interactions(*(np.array([1], kind) for kind in ("i4", "i4", "i4", "f4", "i8")), 1.0, 1, 2, 2)
    with pytest.raises(WorkloadError, match="differ in length"):
        Interactions(np.zeros(2, "i4"), *(np.zeros(1, kind) for kind in ("i4", "i4", "f4", "i8")), 1.0, 1, 1, 1)


def test_generated_clicks_follow_their_true_probability():
    made = generate(300, 100, 16, 40_000, seed=5)

    assert abs(made.clicked.mean() - made.truth.mean()) < 0.01
    # Click rates within tenths of the true probability.
    edges = np.quantile(made.truth, np.linspace(0, 1, 11))
    for low, high in pairwise(edges):
        rows = (made.truth >= low) & (made.truth <= high)
        assert abs(made.clicked[rows].mean() - made.truth[rows].mean()) < 0.03
    assert 0.8 < auc(made.truth, made.clicked) < 0.95


def test_generation_depends_on_the_seed_alone():
    one, again, other = (generate(30, 20, 8, 500, seed=seed) for seed in (1, 1, 2))

    assert np.array_equal(one.item, again.item)
    assert not np.array_equal(one.item, other.item)


def test_few_items_share_few_intents_however_many_queries():
    made = generate(20, 8, 80, 500, seed=2)

    # One code more stands for an unknown category.
    assert made.item_fields["category"].size == 8 + 1
    assert len(made) == 500


@pytest.mark.parametrize("name", ["users", "items", "queries", "interactions"])
def test_too_small_a_number_is_named(name):
    sizes = {"users": 10, "items": 10, "queries": 10, "interactions": 10, name: 0}

    with pytest.raises(WorkloadError, match=rf"data\.{name}: 0 must be at least"):
        generate(**sizes)


def test_movielens_1m_is_read_as_published(tmp_path):
    (tmp_path / "ratings.dat").write_text("7::20::5::100\n7::10::3::50\n9::20::4::70\n")
    (tmp_path / "users.dat").write_text("7::F::25::3::55455\n9::M::1::4::12345\n")
    (tmp_path / "movies.dat").write_text("10::Heat (1995)::Action|Crime\n20::Toys (1992)::Comedy\n", encoding="latin-1")

    read = load("movielens-1m", tmp_path)

    assert read.timestamp.tolist() == [50, 70, 100]
    assert read.clicked.tolist() == [False, True, True]
    assert (read.users, read.items, read.queries) == (2, 2, 3)
    gender = read.user_fields["gender"]
    assert [gender.names[code] for code in gender.codes] == ["F", "M"]
    assert [read.item_fields["year"].names[code] for code in read.item_fields["year"].codes] == ["1995", "1992"]


def test_movielens_20m_is_read_as_published(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,10,4.5,1260759100\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n31,"Minds, The (1995)",Drama\n10,X,(no genres listed)\n'
    )

    read = load("movielens-20m", str(tmp_path))

    assert read.rating.tolist() == [4.5, 2.5]
    assert read.queries == 2


def test_taobao_is_read_as_published_and_stronger_behaviour_is_a_click(tmp_path):
    path = tmp_path / "UserBehavior.csv"
    path.write_text("5,100,7,pv,200\n5,101,8,buy,100\n6,100,7,cart,300\n")

    read = load("taobao", path)

    assert read.clicked.tolist() == [True, False, True]
    assert (read.users, read.items, read.queries) == (2, 2, 2)
    strange = tmp_path / "strange.csv"
    strange.write_text("5,100,7,stare,200\n")
    with pytest.raises(WorkloadError, match="behaviour 'stare' is unknown; known: pv"):
        load("taobao", strange)


def test_a_source_that_is_not_there_says_what_to_name(tmp_path):
    with pytest.raises(WorkloadError, match=r"data\.path: movielens-1m is not shipped"):
        load("movielens-1m")
    with pytest.raises(WorkloadError, match=r"data\.path: .*ratings\.dat is not there"):
        load("movielens-1m", tmp_path)
    with pytest.raises(WorkloadError, match=r"data\.dataset: 'nope' is unknown; known: movielens-100k, "):
        load("nope")


@pytest.mark.slow
def test_movielens_100k_is_whole():
    try:
        read = load("movielens-100k")
    except WorkloadError as error:
        pytest.skip(str(error))

    assert (len(read), read.users, read.items) == (100_000, 943, 1_682)
    assert abs(read.clicked.mean() - 0.55375) < 1e-9
