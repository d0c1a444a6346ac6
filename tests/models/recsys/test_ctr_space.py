"""The space of click-through models: families, restriction, baselines inside."""

from __future__ import annotations

import numpy as np
import pytest

from models.recsys.ctr.baselines import BASELINES
from models.recsys.ctr.blocks import sources
from models.recsys.ctr.space import ctr_space, families, fixed_family, joined, restricted
from tunewright.errors import SpaceError

SPACE = ctr_space()


def test_families_share_no_parameter_and_make_up_the_space():
    names = [parameter.name for family in families().values() for parameter in family]

    assert names == SPACE.names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", BASELINES)
def test_every_configuration_of_a_baseline_is_one_of_the_whole_space(name):
    fixed = BASELINES[name]
    space = restricted(SPACE, fixed)

    assert not set(space.names) & set(fixed)
    for seed in range(20):
        config = joined(SPACE, fixed, space.decode(np.random.default_rng(seed).random(space.dimension)))
        assert {key: config[key] for key in fixed if key in config} == {k: v for k, v in fixed.items() if k in config}
        assert SPACE.validate_config(config) == config


def test_a_linear_model_leaves_nothing_of_a_network_to_tune():
    assert set(restricted(SPACE, BASELINES["lr"]).names) == {
        *("optimizer", "learning_rate", "weight_decay", "batch_size"),
    }


@pytest.mark.parametrize("family", families())
def test_a_fixed_family_leaves_the_others_whole(family):
    fixed = fixed_family(family)
    space = restricted(SPACE, fixed)

    others = {p.name for name, parameters in families().items() if name != family for p in parameters}
    assert set(space.names) == others
    assert joined(SPACE, fixed, space.default()) == SPACE.default()


def test_fields_of_another_table_give_their_own_widths():
    space = ctr_space(["site", "device"])

    assert [name for name in space.names if name.startswith("width_")] == ["width_power", "width_site", "width_device"]


def test_one_field_has_no_pairs_to_choose():
    space = ctr_space(["site"])

    assert "pair_count" not in space.names
    with pytest.raises(SpaceError):
        space.complete({"pairs": "top"})


def test_blocks_read_what_the_configuration_names_and_never_a_later_one():
    config = {"blocks": 5, "from_2": "embeddings", "from_3": "before", "from_4": "both", "from_5": "all"}

    assert sources(config) == [[0], [0], [1], [0, 3], [0, 1, 2, 3, 4]]
