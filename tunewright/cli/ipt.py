"""`tunewright ipt`: train a classifier of texts by instance-wise prompt tuning, and predict; needs no service."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from tunewright.cli import output
from tunewright.cli.problems import Refused
from tunewright.cli.show import number
from tunewright.errors import WorkloadError

app = typer.Typer(help="Classify texts with a frozen language model and prompts made for each text.")

Column = Annotated[str, typer.Option(help="Column of the texts.")]


@app.command()
def train(
    texts: Annotated[str, typer.Argument(help="A .csv, .jsonl or .parquet file, or a text set of the catalogue.")],
    out: Annotated[Path, typer.Argument(help="Folder for the classifier; must not exist.")],
    model: Annotated[str, typer.Option(help="minilm, or a local model's folder.")] = "minilm",
    strategy: Annotated[str, typer.Option(help="How the model is fitted; see `ipt.classify`.")] = "late",
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 200,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 3e-3,
    max_tokens: Annotated[int, typer.Option(min=4, help="Where a longer text is cut off.")] = 48,
    label_word: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=WORD", help="Ask the model's own language-model head for a word; for each label."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    text_column: Column = "text",
    label_column: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
) -> None:
    """Train a classifier, measure it on 30% of the texts that are held out, and write it to a folder."""
    if out.exists():
        raise Refused(f"{out} exists already: name a folder that does not")
    # Before anything is learned that could not be kept.
    out.parent.mkdir(parents=True, exist_ok=True)
    TemporaryDirectory(dir=out.parent).cleanup()
    try:
        from models.data.text import load_texts
        from models.ipt.classifier import TextClassifier
    except ImportError as error:
        raise _not_installed(error) from error
    found = load_texts(texts, text_column, label_column)
    classifier = TextClassifier(
        model,
        steps=steps,
        max_tokens=max_tokens,
        seed=seed,
        label_words=_words(label_word or []),
        strategy=strategy,
        learning_rate=learning_rate,
    ).fit_split(found)
    classifier.save(out)
    scores = classifier.scores_
    output.fields(
        [
            ("classifier", str(out)),
            ("texts", f"{len(found.train)} to learn from, {len(found.valid)} held out"),
            *((name, number(scores[name])) for name in ("accuracy", "f1", "loss")),
            ("tuned", f"{100 * scores['tuned_share']:.2f}% of the model's parameters"),
        ]
    )


@app.command()
def predict(
    classifier: Annotated[Path, typer.Argument(help="Folder that `train` or a trial wrote.")],
    texts: Annotated[Path, typer.Argument(help="A .csv, .jsonl or .parquet file.")],
    text_column: Column = "text",
) -> None:
    """Print the label of each text of a file and how probable it is, as CSV."""
    try:
        from models.data.text_files import read_texts
        from models.ipt.classifier import load
    except ImportError as error:
        raise _not_installed(error) from error
    rows, _ = read_texts(texts, text_column, None)
    loaded = load(classifier)
    chances = loaded.predict_proba(rows)
    writer = csv.writer(sys.stdout)
    writer.writerow(("label", "probability"))
    for chance in chances:
        writer.writerow((loaded.classes_[chance.argmax()], f"{chance.max():.4f}"))


def _words(given: list[str]) -> dict[str, list[str]] | None:
    found: dict[str, list[str]] = {}
    for each in given:
        label, equals, word = each.rpartition("=")
        if not equals:
            raise Refused(f"--label-word {each}: write LABEL=WORD")
        found.setdefault(label, []).append(word)
    return found or None


def _not_installed(error: ImportError) -> WorkloadError:
    return WorkloadError(f"tunewright ipt needs the models ({error}): pip install 'tunewright[server,models]'")
