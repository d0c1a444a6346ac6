"""What users may get wrong with IPT: each is refused with the field's name and what to do."""

from __future__ import annotations

import json
import re
import warnings
from types import SimpleNamespace

import pytest

from models.data.text import load_texts
from models.ipt import backbone
from models.ipt.backbone import load_backbone
from models.ipt.classifier import TextClassifier, load
from models.ipt.options import read_options
from models.ipt.tiny import TINY, tiny
from tunewright.errors import WorkloadError

TEXTS = [f"{text} {i}" for i in range(10) for text in ("music was great", "the weather was awful")]
LABELS = ["keep", "drop"] * 10


@pytest.fixture
def folder(tmp_path):
    """A local model as save_pretrained leaves it."""
    return saved("tiny-bert", tmp_path / "model")


def saved(name, path):
    model, tokenizer = tiny(name)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def classifier(model="tiny-bert", **changes):
    return TextClassifier(model, steps=2, max_tokens=16, **changes)


@pytest.mark.parametrize("name", TINY)
def test_a_local_folder_of_each_architecture_trains_saves_and_loads(name, tmp_path):
    path = saved(name, tmp_path / "model")

    fitted = classifier(str(path)).fit(TEXTS, LABELS)
    fitted.save(tmp_path / "export")

    again = load(tmp_path / "export")
    assert again.predict_proba(TEXTS[:4]) == pytest.approx(fitted.predict_proba(TEXTS[:4]))


@pytest.mark.parametrize("text", ["", "  \n", None, 3])
def test_an_empty_text_is_named(text):
    with pytest.raises(WorkloadError, match="texts: number 20 is"):
        classifier().fit([*TEXTS, text], [*LABELS, "keep"])


def test_a_long_text_is_cut_and_said_so():
    with pytest.warns(UserWarning, match="20 texts are longer than 16 tokens"):
        classifier().fit([text + " and again" * 40 for text in TEXTS], LABELS)


def test_a_long_text_to_predict_is_cut_and_said_so():
    fitted = classifier().fit(TEXTS, LABELS)

    with pytest.warns(UserWarning, match="2 texts are longer than 16 tokens"):
        fitted.predict([*TEXTS, *(text + " and again" * 40 for text in TEXTS[:2])])


def test_short_texts_are_not_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        classifier().fit(TEXTS, LABELS).predict(TEXTS)


def test_a_text_longer_than_the_window_is_cut_there():
    tokens = load_backbone("tiny-bert").tokenize(["music " * 500], 4000)

    assert tokens.ids.shape == (1, 64)
    assert tokens.truncated == 1


def test_labels_of_one_class_are_refused():
    with pytest.raises(WorkloadError, match="all labels are 'keep'"):
        classifier().fit(TEXTS, ["keep"] * len(TEXTS))


def test_missing_labels_are_refused():
    with pytest.raises(WorkloadError, match="labels: 19 for 20 texts"):
        classifier().fit(TEXTS, LABELS[1:])


@pytest.mark.parametrize("label", [None, float("nan"), "", " "])
def test_a_missing_label_is_no_class(label):
    with pytest.raises(WorkloadError, match=r"labels: number 19 is .*; give a label"):
        classifier().fit([*TEXTS, "more music"], [*LABELS[:-1], label, label])


def test_a_class_with_one_text_is_refused():
    with pytest.raises(WorkloadError, match="class 'other' has one text"):
        classifier().fit(TEXTS, [*LABELS[1:], "other"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,label\nhello,\n", r"data.label_column: 'label' is empty in row 1"),
        ("a.csv", b"text,label\n ,keep\n", r"data.text_column: 'text' is empty in row 1"),
        ("a.csv", b"words,label\nhello,keep\n", r"row 1 .* has no 'text'; it has words, label"),
        ("a.csv", "text,label\nh\xe9,keep\n".encode("latin-1"), r"is not UTF-8 \(byte 12\)"),
        ("a.csv", b"text,label\n", r"holds no rows"),
        ("a.jsonl", b'{"text": "a", "label": "b"}\n{', r"line 2 .* is no JSON"),
        ("a.jsonl", b'{"text": ["a"], "label": "b"}', r"which is no text"),
        ("a.jsonl", b"[]", r"line 1 .* is no JSON object"),
        ("a.parquet", b"PAR0", r"is no Parquet"),
        ("a.txt", b"hello", r"must end in one of .csv, .jsonl, .parquet"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(WorkloadError, match=message):
        load_texts(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WorkloadError, match=re.escape(f"there is no file {tmp_path / 'a.csv'}")):
        load_texts(str(tmp_path / "a.csv"))


def test_the_three_kinds_of_files_give_the_same(tmp_path):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{t},{y}\n" for t, y in zip(TEXTS, LABELS, strict=True)))
    rows = [{"text": t, "label": y} for t, y in zip(TEXTS, LABELS, strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")

    found = [load_texts(str(tmp_path / f"a.{kind}")) for kind in ("csv", "jsonl", "parquet")]

    assert found[0].train == found[1].train == found[2].train
    assert found[0].classes == ("drop", "keep")


def test_a_folder_without_a_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()

    with pytest.raises(WorkloadError, match="holds no tokenizer"):
        load_backbone(str(folder))


def test_an_unknown_architecture_is_refused_with_the_known(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))

    with pytest.raises(WorkloadError, match=r"architecture 'mamba'; known: bert, .*t5"):
        load_backbone(str(folder))


def test_a_broken_config_is_refused(folder):
    (folder / "config.json").write_text("{")

    with pytest.raises(WorkloadError, match="is no JSON object"):
        load_backbone(str(folder))


def test_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(WorkloadError, match=r"holds no \*\.safetensors"):
        load_backbone(str(folder))


def test_broken_weights_are_refused(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")

    with pytest.raises(WorkloadError, match="cannot load"):
        load_backbone(str(folder))


def test_weights_of_another_model_are_refused(folder, tmp_path):
    other = saved("tiny-gpt2", tmp_path / "other")
    (other / "model.safetensors").replace(folder / "model.safetensors")

    with pytest.raises(WorkloadError, match=r"the weights in .* lack"):
        load_backbone(str(folder))


def test_a_model_too_large_for_memory_is_refused_before_it_is_read(folder, monkeypatch):
    monkeypatch.setattr(backbone, "MEMORY_FACTOR", 1e9)

    with pytest.raises(WorkloadError, match=r"GiB of memory and .* GiB are free"):
        load_backbone(str(folder))


def test_weights_of_half_precision_count_as_what_they_become(tmp_path, monkeypatch):
    model, tokenizer = tiny("tiny-bert")
    model.half().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    room = SimpleNamespace(available=1.5 * 4 * numbers / backbone.HEADROOM)
    monkeypatch.setattr("psutil.virtual_memory", lambda: room)

    with pytest.raises(WorkloadError, match=r"GiB of memory and .* GiB are free"):
        load_backbone(str(tmp_path))


def test_no_model_of_this_name(tmp_path):
    with pytest.raises(WorkloadError, match=r"'nope' is neither one of minilm, .* nor a folder"):
        load_backbone("nope")


@pytest.mark.parametrize(
    ("option", "value"), [("shots", -1), ("shots", True), ("max_tokens", 2), ("threads", 0), ("chunk_steps", 1.5)]
)
def test_a_wrong_number_is_named(option, value):
    with pytest.raises(WorkloadError, match=rf"data\.{option}: .* must be a whole number from"):
        read_options({option: value})


@pytest.mark.parametrize("option", ["model", "text_column", "label_column"])
def test_a_wrong_name_is_named(option):
    with pytest.raises(WorkloadError, match=rf"data\.{option}: 3 must be a text"):
        read_options({option: 3})


def test_an_unfitted_classifier_neither_predicts_nor_is_saved(tmp_path):
    with pytest.raises(WorkloadError, match="not fitted"):
        classifier().predict(["hello"])
    with pytest.raises(WorkloadError, match="fitted"):
        classifier().save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_written_over(tmp_path):
    with pytest.raises(WorkloadError, match="exists already"):
        classifier().fit(TEXTS, LABELS).save(tmp_path)


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(WorkloadError, match="is no export of ipt"):
        load(tmp_path)


def test_an_export_with_other_parameters_is_refused(tmp_path):
    classifier().fit(TEXTS, LABELS).save(tmp_path / "a")
    (tmp_path / "a" / "tuned.safetensors").write_bytes(b"nothing")

    with pytest.raises(WorkloadError, match="its tuned parameters cannot be used"):
        load(tmp_path / "a")
