"""A made-up text set whose rule depends on the text itself: a topic word says which way an opinion word is to be read.

`keywords`: each text holds one topic, one opinion and words that mean nothing. With one of the topics a good opinion
is class `keep`, with the other class `drop`, and a bad opinion the reverse. Neither word alone says anything of
the class; a classifier has to read the opinion in the light of the topic.
"""

from __future__ import annotations

import numpy as np

TOPICS = ("music", "weather")
GOOD = ("wonderful", "great", "lovely", "excellent", "brilliant", "nice")
BAD = ("awful", "terrible", "horrible", "poor", "dreadful", "bad")
FILLERS = (
    *("today", "we", "talked", "about", "the", "and", "it", "was", "again", "in", "a", "very", "long", "letter"),
    *("from", "my", "old", "friend", "who", "lives", "near", "river", "with", "two", "cats"),
)
VOCABULARY = (*TOPICS, *GOOD, *BAD, *FILLERS)
CLASSES = ("drop", "keep")
ROWS = 4000
_FILLERS_PER_TEXT = 8


def keywords() -> tuple[list[str], list[str]]:
    """Texts and their classes, the same every time."""
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for _ in range(ROWS):
        topic, good = int(rng.integers(len(TOPICS))), bool(rng.integers(2))
        words = [str(word) for word in rng.choice(FILLERS, size=_FILLERS_PER_TEXT)]
        opinions = GOOD if good else BAD
        for word in (TOPICS[topic], opinions[int(rng.integers(len(opinions)))]):
            words.insert(int(rng.integers(len(words) + 1)), word)
        texts.append(" ".join(words))
        labels.append(CLASSES[good ^ (topic % 2 == 0)])
    return texts, labels
