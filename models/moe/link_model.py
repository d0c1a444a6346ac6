"""Which way an AllToAll is faster: what was measured at the start, between sizes drawn straight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# Bytes from each rank to each other. Close enough that a knee in between misleads about few sizes.
SIZES = (64, 256, 1_024, 4_096, 16_384, 65_536)


@dataclass(frozen=True)
class LinkModel:
    """Seconds of an exchange by bytes per pair of ranks.

    Attributes:
        sizes: bytes, increasing.
        seconds: way -> seconds at each size.
    """

    sizes: Sequence[int]
    seconds: Mapping[Literal["flat", "hierarchical"], Sequence[float]]

    def predicted(self, way: Literal["flat", "hierarchical"], size: float) -> float:
        """Seconds at a size: linear in bytes between measurements, and by the last slope beyond them."""
        times = self.seconds[way]
        if size > self.sizes[-1]:
            slope = (times[-1] - times[-2]) / (self.sizes[-1] - self.sizes[-2])
            return times[-1] + max(slope, 0.0) * (size - self.sizes[-1])
        return float(np.interp(size, self.sizes, times))

    def faster(self, size: float) -> Literal["flat", "hierarchical"]:
        """The way that takes less time."""
        return "hierarchical" if self.predicted("hierarchical", size) < self.predicted("flat", size) else "flat"

    def latency_and_bandwidth(self, way: Literal["flat", "hierarchical"]) -> tuple[float, float]:
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
    call: Callable[[Literal["flat", "hierarchical"], int], float],
    slowest: Callable[[list[float]], list[float]],
    sizes: Sequence[int] = SIZES,
    repeats: int = 5,
) -> LinkModel:
    """Measure both ways at all sizes, in rotation.

    Args:
        call: seconds of one exchange by a way at a size.
        slowest: the largest of all ranks, for each of a list of figures, so that all ranks choose alike.
    """
    ways: tuple[Literal["flat", "hierarchical"], ...] = ("flat", "hierarchical")
    found: dict[tuple[str, int], list[float]] = {(way, size): [] for way in ways for size in sizes}
    for _ in range(repeats + 1):
        for way in ways:
            for size in sizes:
                found[way, size].append(call(way, size))
    # The first turn opens connections.
    medians = slowest([float(np.median(found[way, size][1:])) for way in ways for size in sizes])
    return LinkModel(
        tuple(sizes),
        {way: tuple(medians[index * len(sizes) : (index + 1) * len(sizes)]) for index, way in enumerate(ways)},
    )
