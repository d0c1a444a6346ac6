"""Which way an AllToAll is faster: what was measured at the start, between sizes drawn straight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import numpy as np

Way: TypeAlias = Literal["flat", "hierarchical"]
WAYS: tuple[Way, ...] = get_args(Way)

# Bytes from each rank to each other. Close enough that a knee in between misleads about few sizes.
SIZES = (64, 256, 1_024, 4_096, 16_384, 65_536)
# The same exchange twice differs by up to a fifth: times that are this close are measured again, so many times at most.
_CLOSE, _REFINEMENTS = 1.25, 3
# Sizes this close have none between them that would tell more.
_NEAREST = 1.5


@dataclass(frozen=True)
class LinkModel:
    """Seconds of an exchange by bytes per pair of ranks.

    Attributes:
        sizes: bytes, increasing.
        seconds: way -> seconds at each size.
    """

    sizes: Sequence[int]
    seconds: Mapping[Way, Sequence[float]]

    def predicted(self, way: Way, size: float) -> float:
        """Seconds at a size: linear in bytes between measurements, and by the last slope beyond them."""
        times = self.seconds[way]
        if size > self.sizes[-1]:
            slope = (times[-1] - times[-2]) / (self.sizes[-1] - self.sizes[-2])
            return times[-1] + max(slope, 0.0) * (size - self.sizes[-1])
        return float(np.interp(size, self.sizes, times))

    def faster(self, size: float) -> Way:
        """The way that takes less time."""
        return "hierarchical" if self.predicted("hierarchical", size) < self.predicted("flat", size) else "flat"

    def latency_and_bandwidth(self, way: Way) -> tuple[float, float]:
        """Seconds of an empty exchange, and bytes per second and pair: the line that fits best, relatively."""
        times = np.asarray(self.seconds[way])
        design = np.stack([np.ones(len(times)), np.asarray(self.sizes, dtype=float)], axis=1) / times[:, None]
        (latency, per_byte), *_ = np.linalg.lstsq(design, np.ones(len(times)), rcond=None)
        return float(max(latency, 0.0)), float(1 / max(per_byte, 1e-15))

    def __str__(self) -> str:
        lines = []
        for way in self.seconds:
            latency, bandwidth = self.latency_and_bandwidth(way)
            lines.append(f"{way}: {1e3 * latency:.3g} ms + bytes / ({bandwidth / 1e6:.3g} MB/s)")
        choices = ", ".join(f"{size} B {self.faster(size)}" for size in self.sizes)
        return f"{'; '.join(lines)}; chosen: {choices}"


def measure(
    call: Callable[[Way, int], float],
    slowest: Callable[[list[float]], list[float]],
    sizes: Sequence[int] = SIZES,
    repeats: int = 5,
) -> LinkModel:
    """Measure both ways at all sizes, side by side, and again where it hangs on noise or on a size in between.

    An exchange has ended when its last rank has, now this one and now that: each turn counts as its slowest.

    Args:
        call: seconds of one exchange by a way at a size.
        slowest: the largest of all ranks, for each of a list of figures, so that all ranks choose alike.
    """
    found: dict[int, list[list[float]]] = {}

    def take(at: Sequence[int], turns: int) -> None:
        figures = slowest([call(way, size) for _ in range(turns) for size in at for way in WAYS])
        for index in range(0, len(figures), len(WAYS)):
            found.setdefault(at[index // len(WAYS) % len(at)], []).append(figures[index : index + len(WAYS)])

    # The first turn opens connections.
    take(sizes, 1)
    found.clear()
    take(sizes, repeats)
    for _ in range(_REFINEMENTS):
        if doubtful := _doubtful(_model(found)):
            take(doubtful, repeats)
    return _model(found)


def _model(found: Mapping[int, list[list[float]]]) -> LinkModel:
    """Medians of what was measured."""
    sizes = sorted(found)
    medians = np.array([np.median(found[size], axis=0) for size in sizes])
    return LinkModel(tuple(sizes), {way: tuple(medians[:, index].tolist()) for index, way in enumerate(WAYS)})


def _doubtful(model: LinkModel) -> list[int]:
    """Sizes to measure once more: those where the ways are close, and one between neighbours that differ in the way."""
    advantage = np.log(np.divide(model.seconds["flat"], model.seconds["hierarchical"]))
    close = [size for size, gain in zip(model.sizes, advantage, strict=True) if abs(gain) < math.log(_CLOSE)]
    between = [
        round(math.sqrt(low * high))
        for (low, high), turns in zip(pairwise(model.sizes), advantage[:-1] * advantage[1:] < 0, strict=True)
        if turns and high > _NEAREST * low
    ]
    return sorted({*close, *between})
