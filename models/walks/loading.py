"""Whether a block is loaded as a whole or by its active lists: learned while walking (GraSorw, section 5).

GraSorw fits both costs on logged runs beforehand. Here two lines are fitted by recursive least squares on the seconds
that loads of this very run took: a whole load over its bytes, a load by lists over the number of lists. Decisions
change what is read, and never which walks come out.
"""

from __future__ import annotations

MIN_SAMPLES = 8
FORGETTING = 0.98
# Until both lines are known, lists are tried where they would read less than this share of the block.
TRIED_SHARE = 0.125
LIST_BYTES = 4096
_UNKNOWN = 1e6


class Line:
    """seconds = a + b x, fitted by recursive least squares with forgetting."""

    def __init__(self) -> None:
        self.samples = 0
        self._a = self._b = 0.0
        # Covariance of a and b: variances, and what they share. Plain numbers, as arrays of two would cost more.
        self._aa, self._ab, self._bb = _UNKNOWN, 0.0, _UNKNOWN

    def observe(self, x: float, seconds: float) -> None:
        """Learn from one load; x should be of the order of 1."""
        along_a, along_b = self._aa + self._ab * x, self._ab + self._bb * x
        scale = FORGETTING + along_a + along_b * x
        gain_a, gain_b = along_a / scale, along_b / scale
        wrong = seconds - self.predict(x)
        self._a, self._b = self._a + gain_a * wrong, self._b + gain_b * wrong
        aa, ab, bb = self._aa - gain_a * along_a, self._ab - gain_a * along_b, self._bb - gain_b * along_b
        # Where x hardly varies, forgetting would let the covariance grow without end.
        kept = min(1.0, _UNKNOWN * FORGETTING / (aa + bb)) / FORGETTING
        self._aa, self._ab, self._bb = aa * kept, ab * kept, bb * kept
        self.samples += 1

    def predict(self, x: float) -> float:
        """Seconds that a load takes."""
        return self._a + self._b * x


class LoadingRule:
    """Chooses between the two ways of loading, block by block.

    Args:
        block_bytes: of a usual block, the unit of the whole loads' line.
    """

    def __init__(self, block_bytes: int) -> None:
        self._unit = max(1, block_bytes)
        self.whole, self.lists = Line(), Line()

    def by_lists(self, walks: int, block_bytes: int) -> bool:
        """Whether loading the lists of so many walks is expected to be faster than the whole block."""
        if min(self.whole.samples, self.lists.samples) < MIN_SAMPLES:
            return walks * LIST_BYTES < TRIED_SHARE * block_bytes
        return self.lists.predict(self._lists(walks)) < self.whole.predict(block_bytes / self._unit)

    def loaded_whole(self, block_bytes: int, seconds: float) -> None:
        self.whole.observe(block_bytes / self._unit, seconds)

    def loaded_lists(self, walks: int, seconds: float) -> None:
        self.lists.observe(self._lists(walks), seconds)

    def _lists(self, walks: int) -> float:
        return walks * LIST_BYTES / self._unit
