"""`tunewright ipt` trains and predicts on a user's file."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from models.ipt.classifier import TextClassifier
from models.ipt.tiny import tiny
from tunewright.cli import app

ROWS = [row for i in range(10) for row in (f"music was great {i},keep", f"the weather was awful {i},drop")]


def run(*arguments):
    return CliRunner().invoke(app, ["ipt", *map(str, arguments)])


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "\n".join(ROWS) + "\n")
    return path


def test_a_file_is_learned_and_predicted(texts, tmp_path):
    trained = run("train", texts, tmp_path / "out", "--model", "tiny-bert", "--steps", 30, "--learning-rate", 0.02)
    assert trained.exit_code == 0, trained.output
    assert "accuracy" in trained.output

    predicted = run("predict", tmp_path / "out", texts)

    header, *rows = predicted.output.splitlines()
    assert header == "label,probability"
    assert [row.split(",")[0] for row in rows] == [row.split(",")[1] for row in ROWS]


def test_an_export_is_open_to_whom_other_new_folders_are_open_to(texts, tmp_path):
    (tmp_path / "plain").mkdir()

    assert run("train", texts, tmp_path / "out", "--model", "tiny-bert", "--steps", 1).exit_code == 0

    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "plain", "texts.csv"]


def test_an_existing_folder_is_refused_before_anything_is_learned(texts, tmp_path):
    refused = run("train", texts, tmp_path, "--model", "tiny-bert")

    assert refused.exit_code == 2
    assert "exists already" in refused.output


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_learned(texts, monkeypatch):
    monkeypatch.setattr(TextClassifier, "fit_split", lambda *_: pytest.fail("it learned"))

    refused = run("train", texts, texts / "out", "--model", "tiny-bert")

    assert refused.exit_code == 2
    assert f"Error: {texts}: " in refused.output


def test_a_model_that_was_named_from_here_is_found_from_elsewhere(texts, tmp_path, monkeypatch):
    model, tokenizer = tiny("tiny-bert")
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert run("train", texts, "out", "--model", "model", "--steps", 1).exit_code == 0

    monkeypatch.chdir("/")
    predicted = run("predict", tmp_path / "out", texts)

    assert predicted.exit_code == 0, predicted.output


def test_a_strategy_that_is_none_is_refused(texts, tmp_path):
    refused = run("train", texts, tmp_path / "out", "--model", "tiny-bert", "--strategy", "magic")

    assert refused.exit_code == 1
    assert 'parameter "strategy"' in refused.output
    assert not (tmp_path / "out").exists()


def test_label_words_that_are_none_are_refused(texts, tmp_path):
    plain = run("train", texts, tmp_path / "out", "--model", "tiny-bert", "--label-word", "great")
    silent = run("train", texts, tmp_path / "out", "--model", "tiny-bert", "--label-word", "keep=great")

    assert "write LABEL=WORD" in plain.output
    assert "has no language-model head" in silent.output
    assert not (tmp_path / "out").exists()
