"""Words of the model's own in place of a linear head."""

from __future__ import annotations

import pytest
import torch
import transformers

from models.ipt.backbone import load_backbone
from models.ipt.classifier import TextClassifier, load
from models.ipt.heads import word_tokens
from models.ipt.tiny import tiny
from models.ipt.workload import STRATEGIES
from tunewright.errors import WorkloadError

TEXTS = [f"{text} {i}" for i in range(10) for text in ("music was great", "the weather was awful")]
LABELS = ["keep", "drop"] * 10
WORDS = {"keep": "great", "drop": ["awful", "again"]}
SPEAKERS = {
    "tiny-bert": "AutoModelForMaskedLM",
    "tiny-roberta": "AutoModelForMaskedLM",
    "tiny-gpt2": "AutoModelForCausalLM",
}


def speaker(name, path):
    """A folder with a model and its language-model head, both random."""
    model, tokenizer = tiny(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = getattr(transformers, SPEAKERS[name]).from_config(model.config)
    whole.save_pretrained(path)
    if name != "tiny-gpt2":
        tokenizer.mask_token = "z"
    tokenizer.save_pretrained(path)
    return str(path)


def classifier(model, **changes):
    return TextClassifier(model, steps=3, max_tokens=16, label_words=WORDS, learning_rate=0.05, **changes)


@pytest.mark.parametrize("name", SPEAKERS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_learns_to_say_the_word_and_comes_back(name, strategy, tmp_path):
    fitted = classifier(speaker(name, tmp_path / "model"), strategy=strategy).fit(TEXTS, LABELS)
    fitted.save(tmp_path / "export")

    again = load(tmp_path / "export")

    assert again.predict_proba(TEXTS[:4]) == pytest.approx(fitted.predict_proba(TEXTS[:4]))


def test_a_classifier_that_came_back_learns_anew_with_its_words(tmp_path):
    classifier(speaker("tiny-bert", tmp_path / "model"), strategy="probe").fit(TEXTS, LABELS).save(tmp_path / "export")

    again = load(tmp_path / "export").fit(TEXTS, LABELS)

    # An offset of each class; a linear head would have a weight for each of the model's widths.
    assert again._method.tuned_parameters == 2


@pytest.mark.parametrize("name", SPEAKERS)
def test_scores_are_the_models_own_logits_of_the_words(name, tmp_path):
    folder = speaker(name, tmp_path / "model")
    backbone = load_backbone(folder, speaking=True)
    texts = ["music was great", "the weather was awful today"]
    tokens = backbone.tokenize(texts, 16)

    ours = backbone.said(backbone.upper(backbone.lower(tokens, 0), tokens.seen, 0), tokens)

    whole = getattr(transformers, SPEAKERS[name]).from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for row, text in enumerate(texts):
        said = text if name == "tiny-gpt2" else f"{text} {tokenizer.mask_token}"
        ids = tokenizer(said, return_tensors="pt")["input_ids"]
        place = -1 if name == "tiny-gpt2" else int((ids[0] == tokenizer.mask_token_id).nonzero()[-1])
        torch.testing.assert_close(ours[row], whole(ids).logits[0, place], rtol=1e-4, atol=1e-5)


def test_the_gap_stays_where_a_text_is_cut_off_or_holds_the_mask_itself(tmp_path):
    backbone = load_backbone(speaker("tiny-bert", tmp_path / "model"), speaking=True)
    mask = backbone.tokenizer.mask_token_id

    long = backbone.tokenize(["music " * 50], 8)
    own = backbone.tokenize(["z was great"], 16)

    assert long.ids.shape[1] == 8
    assert long.ids[0, -2] == mask
    assert own.ids[0].tolist().count(mask) == 2
    assert own.ids[0, -2] == mask


def test_what_is_tuned_is_an_offset_of_each_class(tmp_path):
    fitted = classifier(speaker("tiny-bert", tmp_path / "model"), strategy="probe").fit(TEXTS, LABELS)

    assert fitted._method.tuned_parameters == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"keep": "great"}, "the label 'drop' has no word"),
        ({**WORDS, "other": "x"}, "'other' is no label; give words for 'drop', 'keep'"),
        ({**WORDS, "keep": "flabbergasted"}, "label_words.keep: 'flabbergasted' is unknown to this model"),
        ({**WORDS, "keep": "great music"}, "label_words.keep: 'great music' is 2 tokens of this model"),
        ({**WORDS, "keep": []}, "label_words.keep: .* must be a word, or a list of words"),
        ({**WORDS, "keep": [3]}, "label_words.keep"),
        ("great", "must map each label to a word"),
    ],
)
def test_words_that_cannot_be_asked_for_are_refused(words, message, tmp_path):
    model = speaker("tiny-bert", tmp_path / "model")

    with pytest.raises(WorkloadError, match=message):
        TextClassifier(model, steps=1, label_words=words).fit(TEXTS, LABELS)


class Bytewise:
    """A tokenizer to which a word inside a text is another token than alone, as byte-pair encodings have it."""

    unk_token_id = 0

    def __call__(self, text, **_):
        return {"input_ids": [{"great": 1, " great": 2, "awful": 3, " awful": 4}[text]]}


def test_words_are_those_inside_a_text():
    assert word_tokens(Bytewise(), {"a": ["great"], "b": ["awful", "great"]}, ("a", "b")) == [[2], [4, 2]]
    assert word_tokens(Bytewise(), None, ("a", "b")) is None


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-gpt2", "tiny-t5"])
def test_a_model_without_a_language_model_head_is_refused(name, tmp_path):
    model, tokenizer = tiny(name)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")

    for reference in (name, str(tmp_path / "model")):
        if name == "tiny-gpt2" and reference != name:
            # Its head is its table of words, which it always has.
            continue
        with pytest.raises(WorkloadError, match=r"data\.label_words: .*leave label_words out"):
            classifier(reference).fit(TEXTS, LABELS)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path):
    model = speaker("tiny-bert", tmp_path / "model")
    tiny("tiny-bert")[1].save_pretrained(model)

    with pytest.raises(WorkloadError, match="has no mask token"):
        classifier(model).fit(TEXTS, LABELS)
