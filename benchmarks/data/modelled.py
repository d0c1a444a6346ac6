"""Learning curves by a model of training: spaces too large to record, with the traits that recorded curves have.

    loss(x, r) = floor(x) + (start - floor(x)) * (1 + r / tau(x))^-alpha + overfit(x) * r^2 + noise,   r in (0, 1]

The floor is a sum of bowls, a few of which matter most; where a bowl has its bottom depends on another parameter, as
the best learning rate does on the batch size, and choices have effects alone and in pairs. Fast learners are not the
best ones: tau has a direction of its own, so that curves cross. Time per unit of resource differs tenfold between
configurations. Noise belongs to the configuration: whoever asks twice gets the same curve.

A table is drawn from its seed: settings were chosen on seeds below 100 and are judged on others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from optimizers.candidates import around, canonical
from optimizers.initial import configurations
from optimizers.protocol import Problem
from optimizers.simulate import Curve
from tunewright.space import Categorical, Config, Float, Int, SearchSpace, config_key
from tunewright.study import Fidelity, Objective

METRIC = "loss"
POINTS = 27
FIDELITY = Fidelity(name="epochs", min=1, max=POINTS)
_SHARES = np.arange(1, POINTS + 1) / POINTS
_SAMPLE = 20_000
Array: TypeAlias = NDArray[np.float64]

SPACES: Mapping[str, SearchSpace] = {
    "network": SearchSpace(
        Float("learning_rate", 1e-5, 1.0, log=True),
        Int("batch_size", 16, 512, log=True),
        Float("weight_decay", 1e-6, 1e-1, log=True),
        Float("momentum", 0.1, 0.99),
        Int("width", 16, 1024, log=True),
        Int("depth", 1, 8),
        Float("dropout", 0.0, 0.8),
        Categorical("activation", ["relu", "gelu", "tanh", "silu"]),
    ),
    "boosting": SearchSpace(
        Float("learning_rate", 1e-3, 1.0, log=True),
        Int("max_depth", 1, 12),
        Float("min_child_weight", 1e-1, 100.0, log=True),
        Float("subsample", 0.1, 1.0),
        Float("colsample_bytree", 0.1, 1.0),
        Float("reg_lambda", 1e-3, 1e3, log=True),
        Float("reg_alpha", 1e-3, 1e3, log=True),
        Float("gamma", 1e-3, 10.0, log=True),
        Int("max_bin", 16, 512, log=True),
    ),
    "cell": SearchSpace([Categorical(f"edge_{i}", ["none", "skip", "conv1", "conv3", "pool"]) for i in range(6)]),
}


@dataclass(frozen=True, eq=False)
class ModelledTable:
    """A table by formula; see the module.

    Attributes:
        best, median: loss at full resource, of the best configuration found by a long search and of a random one,
            noise left out.
        training_seconds: mean time of a whole training.
    """

    name: str
    space: SearchSpace
    traits: _Traits
    best: float
    median: float
    training_seconds: float
    fidelity: Fidelity = FIDELITY

    def problem(self, *, max_trials: int | None = None, seed: int = 0) -> Problem:
        """The table as a problem for an optimizer."""
        return Problem(self.space, [Objective(metric=METRIC)], self.fidelity, max_trials, seed)

    def curve(self, config: Config) -> Curve:
        """See `CurveTable.curve`."""
        x = self.space.encode(config)[None]
        noise = np.random.default_rng([self.traits.seed, crc32(config_key(config).encode())])
        own, each = noise.normal(), noise.normal(size=POINTS)
        losses = self.traits.losses(x)[0] + self.traits.noise * (own + each) / math.sqrt(2)
        return Curve(np.arange(1.0, POINTS + 1), self.traits.seconds(x)[0], {METRIC: losses})


@dataclass(frozen=True, eq=False)
class _Traits:
    """What a table's formula is made of; d coordinates.

    Attributes:
        bottoms, follow, partner, weight: (d,) of the bowls; `follow` is how far a bottom moves with its partner.
        choices: (d, 8) effects of a choice, by coordinate; 0 for those that are no choice.
        pairs: (d, 8, 8) effects of a choice beside the one before it.
        early: typical tau: the smaller, the more early results tell.
        speed, hunger, cost: (d,) directions of log tau, of overfitting and of log seconds.
        steepness: alpha.
        noise: deviation.
    """

    seed: int
    sizes: NDArray[np.int64]
    bottoms: Array
    follow: Array
    partner: NDArray[np.int64]
    weight: Array
    choices: Array
    pairs: Array
    speed: Array
    early: float
    hunger: Array
    cost: Array
    steepness: float
    noise: float

    def losses(self, u: Array) -> Array:
        """(n, 27) without noise, of (n, d) points."""
        floor = self.floor(u)[:, None]
        centred = u - 0.5
        tau = self.early * np.exp(centred @ self.speed)[:, None]
        left = (1.0 + _SHARES / tau) ** -self.steepness
        overfit = np.maximum(0.0, centred @ self.hunger)[:, None]
        return np.asarray(floor + (1.0 - floor) * left + overfit * _SHARES**2)

    def floor(self, u: Array) -> Array:
        """(n,) losses of an endless training, between 0 and 1."""
        moved = self.bottoms + self.follow * (u[:, self.partner] - 0.5)
        ordered = self.sizes == 0
        bowls = np.where(ordered, np.square(u - moved), 0.0) @ self.weight
        place = np.minimum((u * self.sizes).astype(np.int64), np.maximum(self.sizes - 1, 0))
        columns = np.arange(len(self.sizes))
        alone = np.where(ordered, 0.0, self.choices[columns, place]) @ self.weight
        beside = self.pairs[columns, place, place[:, columns - 1]].sum(axis=1)
        # Bad configurations are all alike: they learn nothing.
        return np.asarray(0.05 + 0.85 * -np.expm1(-(bowls + alone + beside)))

    def seconds(self, u: Array) -> Array:
        """(n, 27) from the start until each point."""
        return np.asarray(np.exp((u - 0.5) @ self.cost)[:, None] * _SHARES * POINTS)


def modelled(kind: str, seed: int) -> ModelledTable:
    """The table of a kind of space that a seed makes.

    Raises:
        KeyError: no such kind.
    """
    return _modelled(kind, seed)


@lru_cache
def _modelled(kind: str, seed: int) -> ModelledTable:
    space = SPACES[kind]
    rng = np.random.default_rng([seed, crc32(kind.encode())])
    traits = _draw(space, seed, rng)
    sample = canonical(space, rng.random((_SAMPLE, space.dimension)))
    finals = traits.losses(sample)[:, -1]
    return ModelledTable(
        f"{kind}_{seed}",
        space,
        traits,
        best=_best(space, traits, sample[np.argsort(finals)[:50]], rng),
        median=float(np.median(finals)),
        training_seconds=float(traits.seconds(sample)[:, -1].mean()),
    )


def _draw(space: SearchSpace, seed: int, rng: np.random.Generator) -> _Traits:
    d = space.dimension
    sizes = np.array([len(p.choices) if isinstance(p, Categorical) else 0 for p in space.parameters])
    choice = sizes > 0
    # Few parameters decide; the share of the most important one is about a half.
    weight = rng.permutation(0.6 ** np.arange(d)) * np.where(choice, 1.0, 4.0)
    if choice.all():
        weight = rng.uniform(0.3, 1.0, d)
    return _Traits(
        seed,
        sizes,
        bottoms=rng.uniform(0.15, 0.85, d),
        follow=rng.normal(0.0, 0.3, d),
        partner=(np.arange(d) + rng.integers(1, d, d)) % d,
        weight=weight,
        choices=rng.random((d, 8)) * choice[:, None],
        pairs=rng.random((d, 8, 8)) * 0.3 * (choice & np.roll(choice, 1))[:, None, None],
        speed=rng.normal(0.0, 1.6 / math.sqrt(d / 6), d),
        early=float(np.exp(rng.uniform(np.log(0.01), np.log(0.15)))),
        hunger=rng.normal(0.0, 0.1 / math.sqrt(d), d),
        cost=rng.normal(0.0, 1.8 / math.sqrt(d / 2), d),
        steepness=float(rng.uniform(0.8, 1.6)),
        noise=0.002,
    )


def _best(space: SearchSpace, traits: _Traits, near: Array, rng: np.random.Generator) -> float:
    """The smallest final loss: over the whole grid where there is one, or by small changes of the best known."""
    if np.isfinite(space.size):
        whole = [space.encode(config) for config in configurations(space, lambda p: getattr(p, "choices", ()))]
        return float(traits.losses(np.array(whole))[:, -1].min())
    for _ in range(200):
        pool = np.concatenate([near, canonical(space, around(space, near, 1000, rng))])
        near = pool[np.argsort(traits.losses(pool)[:, -1], kind="stable")[:50]]
    return float(traits.losses(near[:1])[0, -1])
