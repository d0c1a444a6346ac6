"""The soft mixture, against its equations slot by slot."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.moe.errors import RoutingError
from models.moe.gates import Place
from models.moe.language_model import LanguageModel, ModelShape
from models.moe.layer import Experts
from models.moe.soft import SoftMoE
from tunewright.errors import WorkloadError

WIDTH, EXPERTS = 8, 3


def layer(slots=2, activation="gelu", seed=0):
    random = torch.Generator().manual_seed(seed)
    experts = Experts(EXPERTS, WIDTH, 16, activation, random)
    return SoftMoE(Place(WIDTH, EXPERTS, random), experts, slots=slots)


def one_by_one(soft, x):
    """Equations 1 to 3 for one group (n, d)."""
    per_expert = len(soft.slots) // EXPERTS
    logits = torch.stack(
        [soft.scale * torch.nn.functional.cosine_similarity(x, slot[None], dim=1) for slot in soft.slots], dim=1
    )
    dispatch, combine = logits.softmax(0), logits.softmax(1)
    result = torch.zeros_like(x)
    for slot in range(len(soft.slots)):
        row = (dispatch[:, slot, None] * x).sum(0)
        up, down = soft.experts.up[slot // per_expert], soft.experts.down[slot // per_expert]
        result = result + combine[:, slot, None] * (down @ functional.gelu(up @ row))
    return result


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_it_is_its_equations(slots):
    soft = layer(slots)
    x = torch.randn(4, 7, WIDTH, generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(soft(x), torch.stack([one_by_one(soft, group) for group in x]))


def test_gated_activations_work_too():
    soft = layer(activation="swiglu")

    assert soft(torch.randn(2, 5, WIDTH)).shape == (2, 5, WIDTH)


def test_groups_know_nothing_of_each_other():
    soft = layer()
    x = torch.randn(2, 5, WIDTH)
    other = x.clone()
    other[1] = 7

    assert torch.equal(soft(x)[0], soft(other)[0])


def test_a_token_alone_goes_through_every_expert():
    soft = layer(slots=1)
    x = torch.randn(1, 1, WIDTH)
    shares = (functional.normalize(x[0, 0], dim=0) @ functional.normalize(soft.slots, dim=1).T).softmax(0)
    made = [down @ functional.gelu(up @ x[0, 0]) for up, down in zip(soft.experts.up, soft.experts.down, strict=True)]

    torch.testing.assert_close(soft(x)[0, 0], sum(s * m for s, m in zip(shares, made, strict=True)))


def test_everything_learns():
    soft = layer()
    soft(torch.randn(2, 5, WIDTH)).square().sum().backward()

    for name, weight in soft.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_its_load_is_its_slots():
    soft = layer(slots=2)
    assert soft.load is None

    soft(torch.randn(4, 5, WIDTH))

    assert (soft.load.assigned, soft.load.dropped, soft.load.imbalance) == (4 * 2 * EXPERTS, 0, 1.0)


def test_a_language_model_does_not_look_ahead_while_it_trains():
    random = torch.Generator().manual_seed(1)
    model = LanguageModel(ModelShape(50, 12, 2, 32, "soft", 4, {"slots": 2}), random, torch.ones(50)).train()
    ids = torch.randint(50, (3, 12), generator=random)
    changed = ids.clone()
    changed[:, 8:] = (ids[:, 8:] + 1) % 50

    torch.testing.assert_close(model(ids)[:, :8], model(changed)[:, :8])
    # Texts of a batch do share slots.
    mates = ids.clone()
    mates[1:] = (ids[1:] + 1) % 50
    assert not torch.allclose(model(ids)[0], model(mates)[0])
    model.eval()
    torch.testing.assert_close(model(ids)[0], model(mates)[0])


def test_no_slots_are_refused():
    with pytest.raises(WorkloadError, match="slots: 0; an expert needs at least 1"):
        layer(slots=0)


def test_logits_that_are_not_finite_are_told():
    x = torch.randn(1, 3, WIDTH)
    x[0, 0, 0] = float("nan")
    with pytest.raises(RoutingError, match="not finite"):
        layer()(x)
