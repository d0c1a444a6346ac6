"""IPT: every strategy on every architecture learns, resumes bit for bit, and comes back from its export."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.data.text import load_texts
from models.ipt import kept
from models.ipt.backbone import Backbone, load_backbone
from models.ipt.classifier import load
from models.ipt.encoders import BUCKETS, InstanceEncoder, Phm, pool
from models.ipt.learner import Learner, macro_f1
from models.ipt.methods import BASELINES
from models.ipt.tiny import TINY, tiny
from models.ipt.workload import INSTANCE, SPACE, STRATEGIES

SHARED = {"learning_rate": 0.02, "dropout": 0.2}


def learner(model="tiny-bert", seed=0, backbone=None, **changes):
    config = SPACE.complete({**SHARED, **changes})
    texts = load_texts("keywords").few(8, 20, 0)
    backbone = backbone or load_backbone(model)
    return Learner(config, backbone, texts, seed=seed, max_tokens=16, chunk_steps=2, threads=1)


def untimed(metrics):
    return {name: value for name, value in metrics.items() if not name.endswith("_seconds")}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("model", TINY)
def test_a_restored_learner_goes_on_bit_for_bit(model, strategy, tmp_path):
    whole = learner(model, strategy=strategy)
    before = whole.measure()
    whole.step(1)
    whole.save(tmp_path)
    expected = untimed(whole.step(2))

    resumed = learner(model, seed=5, strategy=strategy)
    resumed.restore(tmp_path)

    assert untimed(resumed.step(2)) == expected
    assert expected["loss"] != before["loss"]


@pytest.mark.parametrize("strategy", ["late", "probe"])
def test_what_no_trial_changes_is_computed_once_for_all_trials(strategy, monkeypatch):
    kept._kept.clear()
    expected = untimed(learner(strategy=strategy).step(1))
    monkeypatch.setattr(Backbone, "lower", lambda *_: pytest.fail("computed again"))

    assert untimed(learner(strategy=strategy).step(1)) == expected
    learner(strategy=strategy, seed=3, learning_rate=0.1).step(1)


def test_a_model_that_is_not_as_it_was_read_shares_nothing(tmp_path):
    model, tokenizer = tiny("tiny-bert")
    tokenizer.save_pretrained(tmp_path)
    found = []
    for scale in (1.0, 2.0):
        with torch.no_grad():
            model.embeddings.word_embeddings.weight.mul_(scale)
        model.save_pretrained(tmp_path)
        found.append(learner(backbone=load_backbone(str(tmp_path)), strategy="probe")._train.rows(torch.arange(4))[1])
    changed = load_backbone(str(tmp_path))
    learner(backbone=changed, strategy="full").step(1)
    found.append(learner(backbone=changed, strategy="probe")._train.rows(torch.arange(4))[1])

    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_of_what_is_kept_the_oldest_goes_first(monkeypatch):
    kept._kept.clear()
    backbone, layers = load_backbone("tiny-bert"), 1
    tokens = [backbone.tokenize([word], 16) for word in ("music", "weather", "awful")]
    one = kept.lower_states(backbone, layers, tokens[0])
    monkeypatch.setattr(kept, "KEPT_BYTES", 2 * one.nbytes)

    kept.lower_states(backbone, layers, tokens[1])
    assert kept.lower_states(backbone, layers, tokens[0]) is one
    kept.lower_states(backbone, layers, tokens[2])

    assert kept.lower_states(backbone, layers, tokens[0]) is one
    assert len(kept._kept) == 2
    monkeypatch.setattr(kept, "KEPT_BYTES", one.nbytes - 1)
    assert kept.lower_states(backbone, layers, tokens[0]) is None


VARIANTS = [
    *({"strategy": "conv", "insertion": "input", "combine": combine} for combine in ("concatenate", "add", "gate")),
    *({"strategy": "attention", "combine": combine, "projection": "phm"} for combine in ("add", "gate")),
    *({"strategy": "lookup", "table": table, "pooling": "max"} for table in ("hashed", "random", "embedding")),
    {"strategy": "bilstm", "insertion": "input", "instance_length": 5},
    {"strategy": "late", "late_share": 0.75, "combine": "gate"},
    {"strategy": "task", "insertion": "input"},
]


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("changes", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_every_variant_learns(model, changes):
    found = learner(model, **changes)
    parameters = [parameter.detach().clone() for parameter in found.method.parameters()]

    for resource in (1, 2, 3):
        found.step(resource)

    names = [name for name, _ in found.method.named_parameters()]
    after = found.method.parameters()
    still = [name for name, old, new in zip(names, parameters, after, strict=True) if torch.equal(old, new)]
    assert still == []


@pytest.mark.parametrize("strategy", [*INSTANCE, "task", "probe"])
def test_the_model_itself_stays_as_it_was(strategy):
    backbone = load_backbone("tiny-bert")
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}

    learner(backbone=backbone, strategy=strategy).step(1)

    assert all(torch.equal(before[name], value) for name, value in backbone.model.state_dict().items())


def test_full_fine_tuning_tunes_everything_and_prompts_a_small_share():
    full, task = learner(strategy="full").method, learner(strategy="task", insertion="input", task_length=2).method

    assert full.tuned_share > 1
    assert task.tuned_parameters == 2 * 32 + 2 * 32 + 2


@pytest.mark.parametrize("model", TINY)
def test_without_prompts_the_layers_give_what_the_model_gives(model):
    reference, _ = tiny(model)
    backbone = load_backbone(model)
    tokens = backbone.tokenize(["music was great", "the weather was awful today and again"], 16)

    ours = backbone.upper(backbone.lower(tokens, 0), tokens.seen, 0)

    reference.set_attn_implementation("eager")
    reference.eval()
    theirs = reference(input_ids=tokens.ids, attention_mask=tokens.seen).last_hidden_state
    kept = tokens.seen.bool()
    torch.testing.assert_close(ours[kept], theirs[kept], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("strategy", ["attention", "bilstm", "conv", "lookup", "late", "task", "lora"])
def test_scores_of_a_text_do_not_depend_on_its_company(model, strategy):
    method = learner(model, strategy=strategy).method.eval()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    short, long = "music was great", "the weather was awful today and again in the very long letter"

    together = method(method.backbone.tokenize([short, long], 16))
    alone = method(method.backbone.tokenize([short], 16))

    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", ["bilstm", "conv"])
def test_what_fills_a_batch_up_changes_no_code(strategy):
    random = torch.Generator().manual_seed(0)
    encoder = InstanceEncoder({"strategy": strategy, "bottleneck": 4}, 8, 50, 2, random)
    seen, hidden = torch.tensor([[1, 1, 1, 0, 0, 0]]), torch.randn(1, 6, 8, generator=random)
    ids = torch.zeros(1, 6, dtype=torch.long)

    filled, alone = encoder(ids, seen, hidden), encoder(ids[:, :3], seen[:, :3], hidden[:, :3])

    torch.testing.assert_close(filled, alone)


def test_a_hashed_token_has_its_row_in_any_company():
    config = {"strategy": "lookup", "bottleneck": 4, "table": "hashed"}
    encoder = InstanceEncoder(config, 8, 3 * BUCKETS, 2, torch.Generator().manual_seed(0))
    small, large = torch.tensor([[5, 7, 9]]), torch.tensor([[5, 7, 2 * BUCKETS]])
    seen, hidden = torch.ones(1, 2, dtype=torch.long), torch.zeros(1, 2, 8)

    torch.testing.assert_close(encoder(small[:, :2], seen, hidden), encoder(large[:, :2], seen, hidden))
    both = encoder(torch.cat([small, large]), torch.ones(2, 3, dtype=torch.long), torch.zeros(2, 3, 8))
    alone = encoder(small, torch.ones(1, 3, dtype=torch.long), torch.zeros(1, 3, 8))
    torch.testing.assert_close(both[:1], alone)


@pytest.mark.parametrize("insertion", ["input", "layers"])
def test_instance_prompts_differ_between_texts_and_task_prompts_do_not(insertion):
    ids, seen = torch.tensor([[2, 9, 3], [2, 17, 3]]), torch.ones(2, 3, dtype=torch.int64)
    for strategy, alike in (("task", True), ("attention", False)):
        method = learner(strategy=strategy, insertion=insertion).method.eval()
        with torch.no_grad():
            if hasattr(method.prompts, "up"):
                method.prompts.up.fill_(1.0)
            prompts = method.prompts(ids, seen, method.backbone.parts.words(ids))

        assert torch.equal(prompts[0], prompts[1]) == alike


@pytest.mark.parametrize("bottleneck", [4, 32])
def test_instance_prompts_are_as_large_whatever_the_bottleneck(bottleneck):
    class Ones(torch.nn.Module):
        def forward(self, ids, seen, hidden):
            return torch.ones(len(ids), 2, bottleneck)

    ids, seen = torch.tensor([[2, 9, 3]]), torch.ones(1, 3, dtype=torch.int64)
    method = learner(strategy="attention", bottleneck=bottleneck, task_length=1).method.eval()
    method.prompts.encoder = Ones()
    with torch.no_grad():
        method.prompts.up.fill_(0.5)
        prompts = method.prompts(ids, seen, method.backbone.parts.words(ids))

    torch.testing.assert_close(prompts[0, 1:], torch.full_like(prompts[0, 1:], 0.5))


@pytest.mark.parametrize("strategy", ["attention", "late", "lora", "full", *BASELINES[:2]])
def test_an_export_predicts_as_before(strategy, tmp_path):
    texts = load_texts("keywords").few(8, 20, 0)
    found = learner(strategy=strategy)
    metrics = found.step(1)
    found.save(tmp_path)

    loaded = load(tmp_path)

    labels = [loaded.classes_[k] for k in texts.y_valid]
    assert loaded.score(texts.valid, labels) == pytest.approx(metrics["accuracy"])
    assert loaded.predict_proba(texts.valid[:3]).sum(axis=1) == pytest.approx([1, 1, 1])


def test_no_global_generator_is_read_or_moved():
    torch.manual_seed(1)
    state = torch.get_rng_state()

    first = untimed(learner(strategy="lora").step(1))

    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert untimed(learner(strategy="lora").step(1)) == first


def test_pooling_takes_stretches_and_leaves_padding_out():
    tokens = torch.tensor([[[1.0], [3.0], [5.0], [9.0]], [[2.0], [0.0], [0.0], [0.0]]])
    seen = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])

    assert pool(tokens, seen, 2, False)[:, :, 0].tolist() == [[2, 7], [2, 2]]
    assert pool(tokens - 4, seen, 2, True)[:, :, 0].tolist() == [[-1, 5], [-2, -2]]


def test_a_hypercomplex_map_has_about_a_quarter_of_the_parameters():
    phm = Phm(64, 32, torch.Generator().manual_seed(0))

    assert sum(parameter.numel() for parameter in phm.parameters()) == 64 * 32 // 4 + 4**3
    assert phm(torch.ones(3, 64)).shape == (3, 32)


def test_macro_f1_is_scikit_learns():
    import numpy as np
    from sklearn.metrics import f1_score

    true, predicted = np.random.default_rng(0).integers(0, 3, (2, 50))

    assert macro_f1(predicted, true, 3) == pytest.approx(f1_score(true, predicted, average="macro"))


def test_every_configuration_of_the_space_learns():
    texts = load_texts("keywords").few(8, 20, 0)

    for seed in range(20):
        config = SPACE.decode(np.random.default_rng(seed).random(SPACE.dimension))
        made = Learner(config, load_backbone("tiny-bert"), texts, seed=0, max_tokens=16, chunk_steps=1, threads=1)
        assert math.isfinite(made.step(1)["loss"]), config


def test_adapters_begin_as_nothing_and_come_after_every_layer():
    backbone = load_backbone("tiny-bert")
    method = learner(backbone=backbone, strategy="adapters", bottleneck=4).method.eval()
    tokens = backbone.tokenize(["music was great"], 16)

    before = method.hidden(tokens, None)
    with torch.no_grad():
        method.up[0].normal_(generator=torch.Generator().manual_seed(0))
    after = method.hidden(tokens, None)

    assert torch.equal(before, backbone.upper(backbone.lower(tokens, 0), tokens.seen, 0))
    assert not torch.allclose(before, after)
    assert method.tuned_parameters == 2 * (2 * 32 * 4 + 4) + 2 * 32 + 2
