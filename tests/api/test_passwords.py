import pytest

from linkstead.api.passwords import PASSWORD_CHARS_MAX, check_password, hash_password

KEPT = hash_password("correct horse", "salt")


def test_a_password_is_known_by_its_hash_alone() -> None:
    assert check_password("correct horse", KEPT)
    assert "correct" not in KEPT
    assert hash_password("correct horse", "other") != KEPT


@pytest.mark.parametrize("password", ["", "correct hors", "Correct horse", "correct horse "])
def test_another_password_is_refused(password: str) -> None:
    assert not check_password(password, KEPT)


@pytest.mark.parametrize("kept", ["", "plain", "scrypt$", "scrypt$salt$", KEPT.replace("scrypt", "other")])
def test_what_is_no_hash_lets_nobody_in(kept: str) -> None:
    assert not check_password("correct horse", kept)


@pytest.mark.parametrize("over", [0, 1])
def test_passwords_are_bounded(over: int) -> None:
    password = "x" * (PASSWORD_CHARS_MAX + over)
    assert check_password(password, hash_password(password, "salt")) == (over == 0)
