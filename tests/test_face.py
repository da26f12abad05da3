"""What ``import kit`` shows: every name of the face, by that name, and nothing else."""

from __future__ import annotations

import kit


def test_tab_offers_the_face_and_not_the_rooms_behind_it() -> None:
    assert dir(kit) == sorted([*kit.__all__, "__version__"])


def test_what_the_face_hands_on_goes_by_the_same_name_in_help_and_errors() -> None:
    functions = {name: getattr(kit, name) for name in kit.__all__ if hasattr(getattr(kit, name), "__name__")}
    assert {name for name, thing in functions.items() if thing.__name__ != name} <= {"errors"}  # that is a module
