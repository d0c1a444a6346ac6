from __future__ import annotations

from optimizers.curves import Curves, Outlook


def curves(count: int) -> Curves:
    """Each falls by its number from resource 1 on, and by half of that from resource 2 on."""
    found = Curves()
    for number in range(count):
        found.add({1.0: 10.0 + number, 2.0: 10.0 + number / 2, 4.0: 10.0}, 10.0)
    return found


def test_outlook_is_the_largest_and_the_median_fall_of_whole_curves() -> None:
    assert curves(9).outlook(1.0, 20.0) == Outlook(optimistic=12.0, expected=16.0)
    assert curves(9).outlook(2.0, 20.0) == Outlook(optimistic=16.0, expected=18.0)


def test_few_curves_and_other_resources_tell_nothing() -> None:
    assert curves(7).outlook(1.0, 20.0) is None
    assert curves(9).outlook(3.0, 20.0) is None
