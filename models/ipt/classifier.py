"""A classifier of texts that behaves as scikit-learn's do: fit, predict, predict_proba, score, classes_."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.data.text import TextSet, split
from models.ipt.backbone import load_backbone
from models.ipt.heads import word_tokens
from models.ipt.learner import CARD_FILE, Card, Learner, Texts, load_tuned, scored, warn_of_cut
from models.ipt.methods import Method, build
from models.ipt.options import read_label_words
from models.ipt.workload import SPACE
from tunewright.errors import WorkloadError


class TextClassifier:
    """Fits a frozen language model to labelled texts, or predicts with one that `load` brought back.

    Args:
        model: as the data option `model` of `ipt.classify`.
        steps: optimizer steps of `fit`.
        max_tokens: where a longer text is cut off.
        label_words: label -> a word, or words, that the model's own language-model head is asked for; None: a linear
            head.
        config: parameters of `ipt.classify`; those left out have their defaults.
    Attributes:
        classes_: labels, sorted; known after `fit`.
        scores_: error, accuracy, F1 and loss on the texts that `fit` held out.
    """

    def __init__(
        self,
        model: str = "minilm",
        *,
        steps: int = 200,
        max_tokens: int = 48,
        seed: int = 0,
        label_words: Mapping[str, str | Sequence[str]] | None = None,
        **config: Any,
    ) -> None:
        if steps < 1:
            raise WorkloadError(f"steps: {steps} must be at least 1")
        self._config = SPACE.complete(config)
        self._model, self._steps, self._max_tokens, self._seed = model, steps, max_tokens, seed
        self._label_words = read_label_words(label_words)
        self._learner: Learner | None = None
        self._method: Method | None = None
        self.classes_: NDArray[np.str_] = np.array([], dtype=str)
        self.scores_: dict[str, float] = {}

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> TextClassifier:
        """Learn from 70% of the texts and measure on the others.

        Raises:
            WorkloadError: an empty text, a missing label, unequal lengths, one class, or a model that cannot be used.
        """
        checked(texts)
        if len(texts) != len(labels):
            raise WorkloadError(f"labels: {len(labels)} for {len(texts)} texts; give one for each")
        for number, label in enumerate(labels):
            # NaN is what a table's reader makes of an empty cell.
            if label is None or label != label or not str(label).strip():
                raise WorkloadError(
                    f"labels: number {number} is {label!r}; give a label for each text, or drop the text"
                )
        return self.fit_split(split(list(texts), [str(label) for label in labels]))

    def fit_split(self, texts: TextSet) -> TextClassifier:
        """Learn from texts that are split already."""
        learner = Learner(
            self._config,
            load_backbone(self._model, speaking=bool(self._label_words)),
            texts,
            seed=self._seed,
            max_tokens=self._max_tokens,
            chunk_steps=self._steps,
            threads=torch.get_num_threads(),
            label_words=self._label_words,
        )
        self.scores_ = learner.step(1)
        self._learner, self._method, self.classes_ = learner, learner.method, np.array(texts.classes)
        return self

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities (n, classes), in the order of `classes_`; warns of texts that are cut off.

        Raises:
            WorkloadError: not fitted, or an empty text.
        """
        if self._method is None:
            raise WorkloadError("the classifier is not fitted: call fit, or load one")
        checked(texts)
        tokens = self._method.backbone.tokenize(texts, self._max_tokens)
        warn_of_cut(tokens.truncated, self._max_tokens)
        scores = scored(self._method, Texts(self._method, tokens, keep=False)).astype(np.float64)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return found

    def predict(self, texts: Sequence[str]) -> NDArray[np.str_]:
        """The likeliest label of each text."""
        found: NDArray[np.str_] = self.classes_[self.predict_proba(texts).argmax(axis=1)]
        return found

    def score(self, texts: Sequence[str], labels: Sequence[str]) -> float:
        """Share of the texts whose label is predicted."""
        return float(np.mean(self.predict(texts) == np.array([str(label) for label in labels])))

    def save(self, folder: Path | str) -> None:
        """Write an export: the tuned parameters, and what model they belong to. The folder must not exist yet.

        Raises:
            WorkloadError: not fitted by this object, or the folder exists.
        """
        target = Path(folder)
        if self._learner is None:
            raise WorkloadError("only a classifier that was fitted here can be saved; copy the folder of a loaded one")
        if target.exists():
            raise WorkloadError(f"{target} exists already: name a folder that does not")
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=".saving-", dir=target.parent))
        try:
            # A folder within the draft's, which is for its owner's eyes alone.
            (draft / "export").mkdir()
            self._learner.save(draft / "export")
            (draft / "export").rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @classmethod
    def _loaded(cls, card: Card, folder: Path) -> TextClassifier:
        found = cls(card.model, max_tokens=card.max_tokens, label_words=card.label_words, **card.config)
        backbone = load_backbone(card.model, speaking=bool(card.label_words))
        words = word_tokens(backbone.tokenizer, card.label_words, card.classes)
        found._method = build(card.config, backbone, len(card.classes), torch.Generator(), words)
        load_tuned(found._method, folder)
        found.classes_ = np.array(card.classes)
        return found


def load(folder: Path | str) -> TextClassifier:
    """The classifier of an export, or of a trial's checkpoint.

    Raises:
        WorkloadError: it is no such folder, or its model is not to be had.
    """
    from safetensors import SafetensorError

    path = Path(folder)
    try:
        card = Card.read(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WorkloadError(f"{path} is no export of ipt: its {CARD_FILE} cannot be read: {error}") from error
    try:
        return TextClassifier._loaded(card, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WorkloadError(f"{path}: its tuned parameters cannot be used: {error}") from error


def checked(texts: Sequence[str]) -> None:
    """Refuse what is no row of texts.

    Raises:
        WorkloadError: no texts, or one that is empty; names which.
    """
    if isinstance(texts, str) or not len(texts):
        raise WorkloadError("texts: give a list of at least one text")
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise WorkloadError(f"texts: number {number} is {text!r}; each must hold a word")
