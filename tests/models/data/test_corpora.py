"""Corpora of one's own: what cannot be split is named."""

from __future__ import annotations

import pytest

from models.data import corpora
from tunewright.errors import WorkloadError


def test_documents_that_are_all_too_short_to_keep_a_tenth_of_are_refused(tmp_path):
    for number in range(300):
        (tmp_path / f"{number}.txt").write_text("too short")

    with pytest.raises(WorkloadError, match=r"data\.path: each of the 300 documents is too short .* into one file"):
        corpora.read(str(tmp_path))

    (tmp_path / "long.txt").write_text("long enough")
    assert corpora.read(str(tmp_path)).valid == ["h"]
