"""What `ipt.classify` is told: label words in every form that they may have."""

from __future__ import annotations

import pytest

from models.ipt.options import read_label_words
from tunewright.errors import WorkloadError


def test_words_of_a_label_are_one_or_a_sequence_of_them():
    found = read_label_words({"good": "great", "bad": ("awful", "poor"), 3: ["so"]})

    assert found == {"good": ["great"], "bad": ["awful", "poor"], "3": ["so"]}
    assert read_label_words(None) is None


@pytest.mark.parametrize("said", [[], (), 3, None, [" "], ["great", 3], {"great": 1}])
def test_what_is_no_word_of_a_label_is_named(said):
    with pytest.raises(WorkloadError, match=r"data\.label_words\.good: .* must be a word, or a list of words"):
        read_label_words({"good": said})
