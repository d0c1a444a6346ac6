"""Tiny language models with random weights, one of each family: for tests, and to try a study out in seconds."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from models.data.text_control import VOCABULARY
from models.ipt import attention

WIDTH, LAYERS, HEADS, WINDOW = 32, 2, 4, 64
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
TINY = ("tiny-bert", "tiny-roberta", "tiny-gpt2", "tiny-t5")


def tiny(name: str) -> tuple[Any, Any]:
    """A model and its tokenizer, the same every time; knows the words of the synthetic data sets and letters.

    Args:
        name: one of `TINY`.
    """
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _model(name, len(tokenizer))
    return model, tokenizer


def _model(name: str, words: int) -> Any:
    shared = {"vocab_size": words, "pad_token_id": 0, "attn_implementation": attention.NAME}  # nosec B105: a token of text
    if name == "tiny-gpt2":
        gpt2 = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": WINDOW}
        return transformers.GPT2Model(transformers.GPT2Config(**shared, **gpt2, bos_token_id=2, eos_token_id=3))
    if name == "tiny-t5":
        t5 = {"d_model": WIDTH, "d_kv": 8, "d_ff": 2 * WIDTH, "num_layers": LAYERS, "num_heads": HEADS}
        return transformers.T5EncoderModel(transformers.T5Config(**shared, **t5, use_cache=False))
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    sizes |= {"intermediate_size": 2 * WIDTH, "max_position_embeddings": WINDOW, "type_vocab_size": 1}
    if name == "tiny-bert":
        return transformers.BertModel(transformers.BertConfig(**shared, **sizes), add_pooling_layer=False)
    return transformers.RobertaModel(transformers.RobertaConfig(**shared, **sizes), add_pooling_layer=False)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    known = [PAD, UNKNOWN, START, END, *dict.fromkeys([*VOCABULARY, *letters])]
    tokens = Tokenizer(models.WordLevel({word: index for index, word in enumerate(known)}, unk_token=UNKNOWN))
    tokens.normalizer = normalizers.Lowercase()
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [(START, known.index(START)), (END, known.index(END))]
    tokens.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=marks)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token=PAD, unk_token=UNKNOWN, cls_token=START, sep_token=END, eos_token=END
    )
