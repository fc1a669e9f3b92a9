from string import Formatter

import pytest

from linkstead.doctor import FAULTS, TITLES, Fault


def names(text: str) -> set[str]:
    """The facts that a text is filled with."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_is_told_in_both_languages_with_the_same_facts(fault: Fault) -> None:
    text = FAULTS[fault]
    assert all(text)
    assert names(text.meaning_en) == names(text.meaning_zh)
    assert names(text.advice_en) == names(text.advice_zh)
    assert text.meaning_zh != text.meaning_en


def test_every_step_has_a_title_in_both_languages() -> None:
    assert all(all(title) for title in TITLES.values())
