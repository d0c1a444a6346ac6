"""Interactions of published files, as they come from other systems."""

from __future__ import annotations

from models.data.interactions import load


def test_line_ends_of_windows_are_no_part_of_the_last_column(tmp_path):
    for name, lines in (
        ("ratings", ["7::20::5::100", "7::10::3::50", "9::20::4::70"]),
        ("users", ["7::F::25::3::55455", "9::M::1::4::12345"]),
        ("movies", ["10::Heat (1995)::Action|Drama", "20::Toys (1992)::Drama|Comedy"]),
    ):
        (tmp_path / f"{name}.dat").write_bytes(
            "".join(f"{line}\r\n" for line in lines[:-1]).encode() + lines[-1].encode()
        )

    read = load("movielens-1m", tmp_path)

    assert read.queries == 3
    assert read.item_fields["genre"].names == ("", "Action", "Drama")
