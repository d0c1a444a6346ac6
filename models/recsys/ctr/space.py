"""The search space of click-through models: the four families of choices that a survey of the field tells apart.

Zheng et al., AutoML for Deep Recommender Systems: A Survey (arXiv 2203.13922), sections 3 to 6:

- embedding:    how wide each field's embedding is; width 0 drops the field;
- interaction:  which pairs of fields meet, by which function, and where the result goes;
- design:       a linear part, and up to five blocks that form a directed acyclic graph;
- components:   loss, negative sampling, optimizer, regularisation, hashing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from models.data._click_table import FIELDS
from tunewright.space import Categorical, Config, Float, Int, Ordinal, Parameter, SearchSpace, Value

Family: TypeAlias = Literal["embedding", "interaction", "design", "components"]

MAX_BLOCKS = 5
WIDTHS: list[Value] = [2, 4, 8, 16, 32, 64]
FUNCTIONS: list[Value] = ["inner", "fwfm", "hadamard", "outer", "concat"]
KINDS: list[Value] = ["mlp", "cross", "attention", "cin"]


def embedding(fields: Sequence[str]) -> list[Parameter]:
    """One width for all fields, widths that grow with a field's number of categories, or one for each field.

    `scaled` gives the field with the most categories `width`, others width * (size / largest) ** width_power (mixed
    dimensions, Ginart et al. 2019), rounded, at least 1.
    """
    return [
        Categorical("widths", ["shared", "scaled", "by_field"]),
        Ordinal("width", WIDTHS, default=16, when={"widths": ["shared", "scaled"]}),
        Float("width_power", 0.0, 0.6, default=0.3, when={"widths": "scaled"}),
        *(Ordinal(f"width_{name}", [0, *WIDTHS], default=16, when={"widths": "by_field"}) for name in fields),
    ]


def interaction(pairs: int) -> list[Parameter]:
    """Which of so many pairs of fields meet: none, all, or the `pair_count` that rank highest; the rest as told.

    `rest_function` lets the pairs behind the first meet by a cheaper function than those (SIF, AutoFeature).
    """
    if pairs < 2:
        return [
            Categorical("pairs", ["all", "none"]),
            Categorical("pair_function", FUNCTIONS, when={"pairs": "all"}),
            Categorical("pair_output", ["logit", "blocks"], when={"pairs": "all"}),
        ]
    chosen, ranked = {"pairs": ["all", "top"]}, {"pairs": "top"}
    return [
        Categorical("pairs", ["all", "none", "top"]),
        Int("pair_count", 1, pairs, log=True, default=max(1, pairs // 4), when=ranked),
        Categorical("pair_function", FUNCTIONS, when=chosen),
        Categorical("rest_function", ["none", "inner", "fwfm"], when=ranked),
        Categorical("pair_output", ["logit", "blocks"], when=chosen),
    ]


def design() -> list[Parameter]:
    """A linear part and a graph of blocks; each block reads the embeddings, blocks before it, or both.

    `depth` is a block's number of layers. `size` is an MLP's width, a cross network's rank, four times a compressed
    interaction network's maps, 32 times the heads of an attention block.
    """
    found: list[Parameter] = [Categorical("linear", [True, False]), Int("blocks", 0, MAX_BLOCKS, default=1)]
    for k in range(1, MAX_BLOCKS + 1):
        present = {"blocks": list(range(k, MAX_BLOCKS + 1))}
        found.append(Categorical(f"kind_{k}", KINDS, when=present))
        if k > 1:
            reads = ["embeddings", "previous", "both", *(["before", "all"] if k > 2 else [])]
            found.append(Categorical(f"from_{k}", reads, when=present))
        found.append(Int(f"depth_{k}", 1, 3, default=2, when=present))
        found.append(Ordinal(f"size_{k}", [32, 64, 128, 256], default=64, when=present))
    some = {"blocks": list(range(1, MAX_BLOCKS + 1))}
    return [
        *found,
        Categorical("activation", ["relu", "silu", "tanh"], when=some),
        Categorical("norm", ["none", "layer", "batch"], when=some),
        Float("dropout", 0.0, 0.6, default=0.1, when=some),
    ]


def components() -> list[Parameter]:
    """Loss, share of negatives that are learned from, optimizer and regularisation, hashing of large fields."""
    return [
        Categorical("loss", ["bce", "focal", "pairwise"]),
        Float("focal_gamma", 0.5, 3.0, default=2.0, when={"loss": "focal"}),
        Float("pairwise_share", 0.1, 0.9, default=0.5, when={"loss": "pairwise"}),
        Float("negatives_kept", 0.2, 1.0, default=1.0),
        Categorical("optimizer", ["adam", "adagrad", "sgd"]),
        Float("learning_rate", 3e-4, 0.3, log=True, default=5e-3),
        Float("weight_decay", 1e-7, 1e-1, log=True, default=1e-5),
        Float("init", 1e-3, 0.3, log=True, default=0.03),
        Ordinal("batch_size", [256, 512, 1024, 2048], default=512),
        Ordinal("hash_share", [0.1, 0.25, 0.5, 1.0], default=1.0),
    ]


def ctr_space(fields: Sequence[str] = FIELDS) -> SearchSpace:
    """The whole space for a table with these fields."""
    return SearchSpace([parameter for family in families(fields).values() for parameter in family])


def families(fields: Sequence[str] = FIELDS) -> dict[Family, list[Parameter]]:
    """The space's parameters by family."""
    return {
        "embedding": embedding(fields),
        "interaction": interaction(len(fields) * (len(fields) - 1) // 2),
        "design": design(),
        "components": components(),
    }


def restricted(space: SearchSpace, fixed: Mapping[str, Value]) -> SearchSpace:
    """What is left to choose once some parameters are fixed: without those, and without what they make inactive."""
    left: list[Any] = []
    kept: set[str] = set()
    for parameter in space.parameters:
        if parameter.name in fixed:
            continue
        gone = [parent for parent in parameter.when if parent not in kept]
        if all(parent in fixed and fixed[parent] in parameter.when[parent] for parent in gone):
            when = {parent: values for parent, values in parameter.when.items() if parent in kept}
            left.append(parameter.model_copy(update={"when": when}))
            kept.add(parameter.name)
    return SearchSpace(left)


def joined(space: SearchSpace, fixed: Mapping[str, Value], chosen: Config) -> Config:
    """The whole configuration for one of `restricted(space, fixed)`."""
    config: Config = {}
    values = {**fixed, **chosen}
    for parameter in space.parameters:
        if parameter.active(config):
            config[parameter.name] = values[parameter.name]
    return space.validate_config(config)


def fixed_family(family: Family, fields: Sequence[str] = FIELDS) -> Config:
    """A family's defaults, to search the other three."""
    names = {parameter.name for parameter in families(fields)[family]}
    return {name: value for name, value in ctr_space(fields).default().items() if name in names}
