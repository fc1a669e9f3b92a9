"""Rules for names, each at its bound and just past it."""

import pytest

from linkstead.tsl.limits import (
    IDENTIFIER_CHARS_MAX,
    MODULE_ID_CHARS_MAX,
    MODULE_NAME_CHARS_MAX,
    MODULE_NAME_CHARS_MIN,
    NAME_CHARS_MAX,
    VERSION_CHARS_MAX,
    is_identifier,
    is_module_id,
    is_module_name,
    is_name,
    is_version,
)


@pytest.mark.parametrize("text", ["a", "0", "_", "Level_2", "x" * IDENTIFIER_CHARS_MAX])
def test_identifier_is_good(text: str) -> None:
    assert is_identifier(text)


@pytest.mark.parametrize("text", ["", "x" * (IDENTIFIER_CHARS_MAX + 1), "a-b", "a b", "a:b", "级", "a\n"])
def test_identifier_is_bad(text: str) -> None:
    assert not is_identifier(text)


@pytest.mark.parametrize("text", ["a", "Power switch", "2nd", "电源-开关", "モード", "a/b.c_d", "x" * NAME_CHARS_MAX])
def test_name_is_good(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "-a", " a", "_a", "a:b", "a\n", "a(b)", "x" * (NAME_CHARS_MAX + 1)])
def test_name_is_bad(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize("text", ["t", "testFb", "Default", "x" * MODULE_ID_CHARS_MAX])
def test_module_id_is_good(text: str) -> None:
    assert is_module_id(text)


@pytest.mark.parametrize("text", ["", "default", "a.b", "x" * (MODULE_ID_CHARS_MAX + 1)])
def test_module_id_is_bad(text: str) -> None:
    assert not is_module_id(text)


def test_module_name_has_its_own_length() -> None:
    assert is_module_name("x" * MODULE_NAME_CHARS_MIN)
    assert not is_module_name("x" * (MODULE_NAME_CHARS_MIN - 1))
    assert is_module_name("x" * MODULE_NAME_CHARS_MAX)
    assert not is_module_name("x" * (MODULE_NAME_CHARS_MAX + 1))


@pytest.mark.parametrize("text", ["1", "v1.0", "1592444100000", "x" * VERSION_CHARS_MAX])
def test_version_is_good(text: str) -> None:
    assert is_version(text)


@pytest.mark.parametrize("text", ["", "1-0", "版", "x" * (VERSION_CHARS_MAX + 1)])
def test_version_is_bad(text: str) -> None:
    assert not is_version(text)
