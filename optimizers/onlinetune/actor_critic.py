"""Deep deterministic policy gradient (Lillicrap et al., ICLR 2016), as small as tuning a database needs it.

Plain arrays: networks of this size spend a framework's time on its overhead. All randomness comes from the seed, so
the same transitions give the same weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from optimizers.surrogates.gp import one_thread

Array: TypeAlias = NDArray[np.float64]

_HIDDEN = 64
_ACTOR_RATE, _CRITIC_RATE, _DISCOUNT, _FOLLOW = 1e-3, 2e-3, 0.9, 0.02
_BATCH, _STEPS, _REMEMBERED = 32, 8, 2000
# Adam's, as everywhere.
_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8


class _Transition(NamedTuple):
    state: Array
    action: Array
    reward: float
    following: Array


class ActorCritic:
    """An actor that maps states to actions in the unit cube, and the critic that teaches it.

    Args:
        states: their dimension q.
        start: (d,) action that it begins near, whatever the state.
    """

    def __init__(self, states: int, start: Array, seed: int) -> None:
        self._draws = np.random.default_rng([seed, 0xAC])
        self._actor = Network([states, _HIDDEN, _HIDDEN, len(start)], self._draws)
        self._critic = Network([states + len(start), _HIDDEN, _HIDDEN, 1], self._draws)
        inside = np.clip(start, 0.02, 0.98)
        self._actor.weights[-1] *= 0.1
        self._actor.biases[-1][:] = np.log(inside / (1.0 - inside))
        self._slow_actor, self._slow_critic = copy.deepcopy(self._actor), copy.deepcopy(self._critic)
        self._memory: list[_Transition] = []

    def act(self, state: Array) -> Array:
        """(d,) the actor's action in a (q,) state, without noise."""
        return _squashed(self._actor(state[None])[0])

    def remember(self, state: Array, action: Array, reward: float, following: Array) -> None:
        """Add a transition; of too many the oldest is forgotten."""
        self._memory.append(_Transition(state, action, reward, following))
        del self._memory[:-_REMEMBERED]

    def learn(self) -> None:
        """A few steps of both networks on draws from what is remembered."""
        with one_thread():
            for _ in range(_STEPS if self._memory else 0):
                self._learn_once()

    def _learn_once(self) -> None:
        rows = self._draws.integers(len(self._memory), size=_BATCH)
        columns = zip(*(self._memory[int(row)] for row in rows), strict=True)
        states, actions, rewards, following = (np.array(column) for column in columns)
        self._teach_critic(states, actions, rewards, following)
        self._teach_actor(states)
        self._slow_actor.follow(self._actor)
        self._slow_critic.follow(self._critic)

    def _teach_critic(self, states: Array, actions: Array, rewards: Array, following: Array) -> None:
        """A step down the squared error against reward and what the slow networks expect from there on."""
        later = self._slow_critic(np.hstack([following, _squashed(self._slow_actor(following))]))
        goal = rewards[:, None] + _DISCOUNT * later
        layers = self._critic.layers(np.hstack([states, actions]))
        gradients, _ = self._critic.backward(layers, 2.0 * (layers[-1] - goal) / _BATCH)
        self._critic.step(gradients, _CRITIC_RATE)

    def _teach_actor(self, states: Array) -> None:
        """A step up the critic's value of the actor's own actions."""
        of_actor = self._actor.layers(states)
        actions = _squashed(of_actor[-1])
        of_critic = self._critic.layers(np.hstack([states, actions]))
        _, by_input = self._critic.backward(of_critic, np.full((_BATCH, 1), -1.0 / _BATCH))
        by_action = by_input[:, states.shape[1] :] * actions * (1.0 - actions)
        gradients, _ = self._actor.backward(of_actor, by_action)
        self._actor.step(gradients, _ACTOR_RATE)


class Network:
    """Layers of rectified linear units under a linear one, with Adam (Kingma and Ba, ICLR 2015).

    Args:
        sizes: of the input and of every layer.
    """

    def __init__(self, sizes: Sequence[int], draws: np.random.Generator) -> None:
        pairs = list(pairwise(sizes))
        self.weights = [draws.uniform(-1.0, 1.0, (a, b)) / a**0.5 for a, b in pairs]
        self.biases = [np.zeros(b) for _, b in pairs]
        self._moments = [(np.zeros_like(each), np.zeros_like(each)) for each in self._parameters]
        self._steps = 0

    @property
    def _parameters(self) -> list[Array]:
        return [*self.weights, *self.biases]

    def __call__(self, x: Array) -> Array:
        return self.layers(x)[-1]

    def layers(self, x: Array) -> list[Array]:
        """The (n, inputs) input, and what comes out of every layer."""
        found = [x]
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            out = found[-1] @ weight + bias
            found.append(out if place == len(self.weights) - 1 else np.maximum(out, 0.0))
        return found

    def backward(self, layers: Sequence[Array], pull: Array) -> tuple[list[Array], Array]:
        """Gradients by weights and biases, and the (n, inputs) one by the input.

        Args:
            layers: of the forward pass.
            pull: (n, outputs) gradient by the output.
        """
        by_weight: list[Array] = []
        by_bias: list[Array] = []
        for place in reversed(range(len(self.weights))):
            by_weight.insert(0, layers[place].T @ pull)
            by_bias.insert(0, pull.sum(axis=0))
            pull = pull @ self.weights[place].T
            if place:
                pull = pull * (layers[place] > 0)
        return [*by_weight, *by_bias], pull

    def step(self, gradients: Sequence[Array], rate: float) -> None:
        """Adam's step down a gradient."""
        self._steps += 1
        for parameter, (first, second), gradient in zip(self._parameters, self._moments, gradients, strict=True):
            first += (1.0 - _FIRST) * (gradient - first)
            second += (1.0 - _SECOND) * (gradient**2 - second)
            mean, square = first / (1.0 - _FIRST**self._steps), second / (1.0 - _SECOND**self._steps)
            parameter -= rate * mean / (np.sqrt(square) + _TINY)

    def follow(self, other: Network) -> None:
        """A small way towards another network's parameters."""
        for mine, others in zip(self._parameters, other._parameters, strict=True):
            mine += _FOLLOW * (others - mine)


def _squashed(x: Array) -> Array:
    """Into the unit interval."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))
