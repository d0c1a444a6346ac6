"""Click-through models: each part against a plain formula, row-wise learning, hashing, strategies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.data._click_planted import INNER, TABLE, generate
from models.recsys.ctr.blocks import BLOCKS, Manner, Shape
from models.recsys.ctr.embeddings import Embeddings, field_widths, lay_out
from models.recsys.ctr.gradient import auto_dim, gated_pairs, learned_threshold
from models.recsys.ctr.learner import CtrLearner
from models.recsys.ctr.losses import loss
from models.recsys.ctr.model import ClickModel
from models.recsys.ctr.options import read_options
from models.recsys.ctr.pairs import Pairs, ranked_pairs
from models.recsys.ctr.space import FUNCTIONS, KINDS, ctr_space
from tunewright.errors import WorkloadError

TABLE_OF_CLICKS = generate(900, seed=2)
SPACE = ctr_space(TABLE_OF_CLICKS.fields)


def random():
    return torch.Generator().manual_seed(1)


def model(**chosen):
    return ClickModel(SPACE.complete(chosen), TABLE_OF_CLICKS, random())


def scored(found):
    with torch.no_grad():
        return found.eval()(found.index(TABLE_OF_CLICKS.codes[:50]))


# Interactions


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_interaction_gives_one_number_a_pair(function):
    tokens = torch.randn(6, 4, 8, generator=random())
    pairs = [(0, 1), (2, 3), (0, 3)]

    found = Pairs(function, pairs, 8, random())(tokens)

    assert found.shape == (6, 3)
    if function in ("inner", "fwfm"):
        expected = torch.stack([(tokens[:, a] * tokens[:, b]).sum(1) for a, b in pairs], dim=1)
        torch.testing.assert_close(found, expected)


def test_an_outer_interaction_is_a_bilinear_form():
    tokens = torch.randn(5, 3, 4, generator=random())
    layer = Pairs("outer", [(0, 2)], 4, random())

    expected = torch.einsum("ni,ij,nj->n", tokens[:, 0], layer.weight[0], tokens[:, 2])

    torch.testing.assert_close(layer(tokens)[:, 0], expected)


def test_a_factorisation_machine_is_its_formula():
    fm = model(pairs="all", pair_function="inner", blocks=0, init=0.3, widths="shared", width=4)
    tokens, linear = fm.eval().embeddings(fm.index(TABLE_OF_CLICKS.codes[:50]))

    square_of_sum, sum_of_squares = tokens.sum(dim=1) ** 2, (tokens**2).sum(dim=1)

    expected = fm.bias + linear + 0.5 * (square_of_sum - sum_of_squares).sum(dim=1)
    torch.testing.assert_close(scored(fm), expected)


def test_the_planted_pairs_rank_first():
    table = generate(40_000, seed=5)
    planted = {tuple(sorted((table.fields.index(a), table.fields.index(b)))) for a, b in (*INNER, *TABLE)}

    found = ranked_pairs(table)

    assert len(planted & set(found[:6])) >= 4
    assert len(found) == 55


# Blocks


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_read_tokens_and_flat_numbers_together(kind):
    manner = Manner("relu", "layer", 0.1, random())
    shapes = [Shape(5, 8), Shape(0, 7)]

    block = BLOCKS[kind](shapes, 2, 32, 8, manner)
    found = block.eval()([torch.randn(3, 5, 8), torch.randn(3, 7)])

    expected = (3, block.shape.tokens, block.shape.width) if block.shape.tokens else (3, block.shape.width)
    assert found.shape == expected


def test_a_cross_layer_is_its_formula():
    block = BLOCKS["cross"]([Shape(2, 4)], 2, 64, 4, Manner("relu", "none", 0.0, random()))
    x0 = torch.randn(3, 2, 4)

    x = flat = x0.flatten(1)
    for layer in block.layers:
        x = flat * (x @ layer.weight.T + layer.bias) + x

    torch.testing.assert_close(block([x0]), x)


def test_a_compressed_interaction_layer_is_its_formula():
    block = BLOCKS["cin"]([Shape(3, 4)], 1, 32, 4, Manner("relu", "none", 0.0, random()))
    x = torch.randn(2, 3, 4)
    weight = block.layers[0].weight.view(8, 3, 3)

    expected = torch.einsum("hij,nid,njd->nhd", weight, x, x).sum(dim=2)

    torch.testing.assert_close(block([x]), expected)


# Embeddings


def test_widths_of_zero_drop_a_field_and_nothing_of_it_is_stored():
    widths = {f"width_{name}": 4 for name in TABLE_OF_CLICKS.fields}
    whole = model(widths="by_field", **widths, linear=False)
    less = model(widths="by_field", **{**widths, "width_user": 0}, linear=False)

    assert 0 not in less.embeddings.columns.fields
    assert whole.embeddings.size - less.embeddings.size == 4 * TABLE_OF_CLICKS.sizes[0]
    changed = TABLE_OF_CLICKS.codes[:50].copy()
    changed[:, 0] = 0
    with torch.no_grad():
        torch.testing.assert_close(less.eval()(less.index(changed)), scored(less))


def test_scaled_widths_grow_with_the_number_of_categories():
    config = SPACE.complete({"widths": "scaled", "width": 32, "width_power": 0.5})

    widths = field_widths(config, TABLE_OF_CLICKS.fields, TABLE_OF_CLICKS.sizes)

    assert max(widths.values()) == 32
    order = np.argsort(TABLE_OF_CLICKS.sizes, kind="stable")
    assert np.diff(np.array(list(widths.values()))[order]).min() >= 0


def test_hashing_keeps_small_fields_and_shares_rows_of_large_ones():
    columns = lay_out({"big": 4, "small": 4}, [1_000, 10], 0.1)

    assert columns.rows == (110,)
    assert len(np.unique(columns.places[1])) == 10
    assert len(np.unique(columns.places[0])) > 80
    assert columns.places[0].max() < 100 <= columns.places[1].min()


def test_only_touched_rows_get_a_gradient_and_it_is_the_dense_one():
    columns = lay_out({"a": 3, "b": 3}, [20, 5], 1.0)
    made = Embeddings(columns, linear=True, tokens=True, deviation=0.5, random=random())
    index = columns.index(np.array([[1, 2], [1, 3], [7, 2]], np.int32))
    table = made.tables[0]
    dense = table.weight.clone().requires_grad_()

    made.train()(index)[0].square().sum().backward()
    torch.nn.functional.embedding(index, dense)[:, :, 1:].square().sum().backward()

    assert table.touched.tolist() == [1, 7, 22, 23]
    torch.testing.assert_close(table.leaf.grad, dense.grad[table.touched])


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "sgd"])
def test_rows_that_no_batch_touches_keep_their_values(optimizer):
    config = SPACE.complete({"optimizer": optimizer, "hash_share": 1.0, "weight_decay": 0.1})
    learner = CtrLearner(config, TABLE_OF_CLICKS, seed=0, chunk_rows=40)
    before = learner.model.tables[0].weight.clone()
    seen = learner._index[learner._stream(1, 1.0)].unique()

    learner.learn(1)

    after = learner.model.tables[0].weight
    changed = (after != before).any(dim=1).nonzero()[:, 0]
    assert set(changed.tolist()) <= set(seen.tolist())
    assert len(changed) > len(seen) // 2


# Learning


def test_a_model_without_any_part_is_a_linear_one():
    found = model(linear=False, blocks=0, pairs="none")

    assert found.size == found.embeddings.size + 1
    assert found.embeddings.size == sum(TABLE_OF_CLICKS.sizes)


@pytest.mark.parametrize("kind", ["bce", "focal", "pairwise"])
def test_losses_fall_as_the_odds_turn_right(kind):
    config = SPACE.complete({"loss": kind})
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])

    wrong, even, right = (float(loss(config, k * (2 * labels - 1), labels)) for k in (-2, 0, 2))

    assert wrong > even > right


def test_a_pairwise_loss_of_one_kind_of_label_is_no_error():
    config = SPACE.complete({"loss": "pairwise"})

    assert torch.isfinite(loss(config, torch.zeros(3), torch.ones(3)))


def test_left_out_negatives_do_not_shift_the_predicted_rate():
    table = generate(6_000, seed=4)
    config = ctr_space(table.fields).complete({"negatives_kept": 0.3, "blocks": 0, "pairs": "none"})
    learner = CtrLearner(config, table, seed=0, chunk_rows=9_600)

    for chunk in range(1, 4):
        learner.learn(chunk)

    rate = 1 / (1 + np.exp(-learner.scores("valid")))
    assert rate.mean() == pytest.approx(table.labels[table.rows("valid")].mean(), abs=0.05)


def test_learning_beats_the_linear_model_on_planted_interactions():
    table = generate(12_000, seed=1)
    space = ctr_space(table.fields)
    chosen = {"learning_rate": 0.02, "weight_decay": 3e-3, "optimizer": "adam", "pairs": "top", "pair_count": 5}

    def reached(**fixed):
        learner = CtrLearner(space.complete(fixed), table, seed=1, chunk_rows=9_600)
        return max(learner.step(chunk)["auc"] for chunk in range(1, 6))

    assert (
        reached(**chosen, blocks=0, pair_function="outer") > reached(blocks=0, pairs="none", learning_rate=0.02) + 0.02
    )


def test_an_epoch_shows_every_training_row_once():
    learner = CtrLearner(SPACE.default(), TABLE_OF_CLICKS, seed=3, chunk_rows=180)

    rows = np.concatenate([learner._stream(chunk, 1.0) for chunk in range(1, 5)])

    assert sorted(rows.tolist()) == list(range(TABLE_OF_CLICKS.n_train))


def test_widths_for_fields_that_the_table_lacks_are_refused():
    config = ctr_space(["nope", "user"]).complete({"widths": "by_field"})

    with pytest.raises(WorkloadError, match=r'"width_nope": the table has no such field .* ctr_space'):
        ClickModel(config, TABLE_OF_CLICKS, random())


def test_dropping_every_field_is_refused():
    widths = {f"width_{name}": 0 for name in TABLE_OF_CLICKS.fields}

    with pytest.raises(WorkloadError, match="keep at least one"):
        model(widths="by_field", **widths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_rows": 0}, r"data\.chunk_rows: 0 must be a whole number"),
        ({"threads": "two"}, r"data\.threads: 'two' must be"),
        ({"pairs": "user*item"}, r"data\.pairs: 'user\*item' must be a list"),
        ({"pairs": ["user*nope"]}, r"data\.pairs: 'user\*nope' must join two of the fields"),
        ({"pairs": ["user*user"]}, r"data\.pairs: 'user\*user' must join two"),
        ({"pairs": ["user*item", "item*user"]}, r"data\.pairs: 'item\*user' stands twice"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(WorkloadError, match=message):
        read_options({"dataset": "generated", "rows": 600, **options})


def test_given_pairs_are_the_ones_that_meet():
    found = read_options({"dataset": "generated", "rows": 600, "pairs": ["item*user", "age*decade"]})

    assert found.pairs == [(0, 1), (2, 7)]
    learner = CtrLearner(SPACE.default(), found.table, seed=0, pairs=found.pairs)
    assert [part.count for part in learner.model.interactions] == [2]


def test_given_pairs_do_not_meet_in_a_configuration_without_any():
    assert not list(ClickModel(SPACE.complete({"pairs": "none"}), TABLE_OF_CLICKS, random(), [(0, 1)]).interactions)


@pytest.mark.parametrize("kind", KINDS)
def test_interactions_reach_the_output_whatever_the_blocks(kind):
    chosen = {"pairs": "all", "pair_function": "fwfm", "pair_output": "blocks", "blocks": 1, "kind_1": kind}
    found = ClickModel(SPACE.complete(chosen), TABLE_OF_CLICKS, random())

    found(found.index(TABLE_OF_CLICKS.codes[:50])).sum().backward()

    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in found.interactions.parameters())


# Strategies that learn choices


def test_gates_open_for_planted_pairs():
    table = generate(16_000, seed=3)
    planted = {tuple(sorted((table.fields.index(a), table.fields.index(b)))) for a, b in (*INNER, *TABLE)}

    _, found = gated_pairs(ctr_space(table.fields).default(), table, seed=0, chunks=6, chunk_rows=4_096)

    assert len(planted & set(found[:8])) >= 3
    assert len(found) < 40


@pytest.mark.parametrize("strategy", [auto_dim, learned_threshold])
def test_learned_widths_are_a_configuration_that_trains(strategy):
    config = SPACE.complete({"width": 8})

    found = strategy(config, TABLE_OF_CLICKS, seed=0, chunks=2, chunk_rows=720)

    assert found["widths"] == "by_field"
    assert SPACE.validate_config(found) == found
    assert max(value for name, value in found.items() if name.startswith("width_")) <= 8
    assert CtrLearner(found, TABLE_OF_CLICKS, seed=0, chunk_rows=100).step(1)["parameters"] > 0


def test_thresholds_prune_columns_that_stay_small():
    config = SPACE.complete({"width": 16, "init": 0.001, "learning_rate": 3e-4})

    found = learned_threshold(config, TABLE_OF_CLICKS, seed=0, chunks=2, chunk_rows=720)

    assert min(value for name, value in found.items() if name.startswith("width_")) < 16
