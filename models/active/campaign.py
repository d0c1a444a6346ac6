"""Rounds of asking and learning within a budget: choose a batch, ask, pay, learn, and again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.active.gain import entropy, information_gain
from models.active.knowledge import UNKNOWN, Distributions, Knowledge, Nodes
from models.active.oracle import Oracle
from models.active.situation import Criterion, Situation, Terrain
from models.active.student import Student
from tunewright.errors import WorkloadError

Query = Literal["relaxed", "exact", "either"]

# An oracle that has let so many questions in a row pass without an answer is taken to be gone. One that is silent about
# nine nodes of ten does so once in 40,000 times.
PATIENCE = 100
# Sums of prices in bits are rounded.
_ROUNDING = 1e-9


def exact_price(account: str, n_classes: int) -> float:
    """What an exact label costs where a yes or no costs 1.

    questions    C - 1: asked class by class until only one is left
    bits         log2 C: what an answer among C classes can tell

    Raises:
        WorkloadError: the account is unknown.
    """
    prices = {"questions": float(n_classes - 1), "bits": math.log2(n_classes)}
    if account not in prices:
        raise WorkloadError(f"data.account: {account!r} is unknown; known: {', '.join(prices)}")
    return prices[account]


@dataclass
class Campaign:
    """An oracle, a budget, and what came of them so far.

    Attributes:
        criterion: chooses the nodes of a batch.
        query: what the oracle is asked about a node: `relaxed`, to confirm the likeliest class; `exact`, for the class;
            `either`, whichever tells more for its price.
        batch: nodes in a batch, asked between two lessons.
        account: what an exact label costs, see `exact_price`.
        purse: what is left to spend.
        spent: what answers have cost; a question that is not answered costs nothing.
        rounds: batches asked.
        answers: questions answered.
        unanswered: questions in a row without an answer, of batches without any.
        belief: (n, C) what the student makes of the answers.
    """

    terrain: Terrain
    criterion: Criterion
    student: Student
    oracle: Oracle
    query: Query
    batch: int
    account: str = "questions"
    seed: int = 0
    purse: float = 0.0
    spent: float = 0.0
    rounds: int = 0
    answers: int = 0
    unanswered: int = 0
    knowledge: Knowledge = field(init=False)
    belief: Distributions = field(init=False)

    def __post_init__(self) -> None:
        graph = self.terrain.graph
        self.knowledge = Knowledge(graph.n, graph.n_classes)
        self.learn()

    @property
    def exact_price(self) -> float:
        """What an exact label costs."""
        return exact_price(self.account, self.terrain.graph.n_classes)

    def earn(self, income: float) -> None:
        """Add to the purse, and buy as many whole batches as it then can pay for.

        Raises:
            WorkloadError: the oracle has let many questions in a row pass without an answer.
        """
        self.purse += income
        cheapest = self.exact_price if self.query == "exact" else 1.0
        while self.purse + _ROUNDING >= self.batch * cheapest:
            random = np.random.default_rng([self.seed, self.rounds])
            belief = self.knowledge.narrowed(self.belief)
            exact, price = self._exact(belief), self.exact_price
            here = Situation(self.terrain, self.knowledge, belief, self.rounds, random, exact, price)
            chosen = self.criterion(here, self.batch)
            exact = exact[chosen]
            prices = np.where(exact, price, 1.0)
            if len(chosen) == 0 or self.purse + _ROUNDING < prices.sum():
                return
            labels = np.where(exact, UNKNOWN, likeliest(belief[chosen], random))
            answers = [self._ask(int(node), int(label)) for node, label in zip(chosen, labels, strict=True)]
            self._settle(prices, np.array(answers))
            self.learn()

    def learn(self) -> None:
        """Fit the student to all answers."""
        self.belief = self.student.fit(*self.knowledge.targets())

    def accuracy(self, nodes: Nodes) -> float:
        """Share of nodes whose likeliest class, by the student alone, is the true one."""
        return float(np.mean(self.belief[nodes].argmax(axis=1) == self.terrain.graph.labels[nodes]))

    def _exact(self, belief: Distributions) -> NDArray[np.bool_]:
        """(m,) of which nodes to ask for the class, by the distributions (m, C) over it."""
        if self.query == "either":
            return worth_naming(belief, self.exact_price)
        return np.full(len(belief), self.query == "exact")

    def _ask(self, node: int, label: int) -> bool:
        """Ask whether a node is of a class, or for its class where that is UNKNOWN; whether there was an answer."""
        if label != UNKNOWN:
            confirmed = self.oracle.confirm(node, label)
            if confirmed is not None:
                self.knowledge.tell(node, label, confirmed, self.belief[node])
                return True
        else:
            named = self.oracle.name(node)
            if named is not None:
                self.knowledge.reveal(node, named)
                return True
        self.knowledge.set_aside(node)
        return False

    def _settle(self, prices: NDArray[np.float64], answered: NDArray[np.bool_]) -> None:
        paid = float(prices[answered].sum())
        self.rounds += 1
        self.answers += int(answered.sum())
        self.spent += paid
        self.purse -= paid
        self.unanswered = 0 if answered.any() else self.unanswered + len(answered)
        if self.unanswered >= PATIENCE:
            raise WorkloadError(
                f"oracle: it has answered none of the last {self.unanswered} questions; "
                f"see that it can answer, and go on from the {self.answers} answers before"
            )


def worth_naming(belief: Distributions, price: float) -> NDArray[np.bool_]:
    """(m,) for which distributions (m, C) the class, at this price, tells more for it than a yes or no at 1."""
    return np.asarray(entropy(belief) / price > information_gain(belief) + _ROUNDING)


def likeliest(belief: Distributions, random: np.random.Generator) -> NDArray[np.int64]:
    """(m,) the likeliest class of each row of (m, C); ties, as before anything is known, are broken at random."""
    tied = belief >= belief.max(axis=1, keepdims=True) * (1.0 - 1e-9)
    weights = random.uniform(1.0, 2.0, belief.shape)  # nosec B311: ties are no secret
    return np.asarray((tied * weights).argmax(axis=1), dtype=np.int64)
