import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.registry import names


@pytest.mark.parametrize("text", ["a1Lnk5tEad0", "a", "A" * 20, "0123456789"])
def test_letters_and_digits_make_a_product_key(text: str) -> None:
    assert names.is_product_key(text)


@pytest.mark.parametrize("text", ["", "A" * 21, "a1-nk5tEad0", "a1Lnk5tEad0\n", "a1/b", "+", "#", "é", "１２３"])
def test_anything_else_makes_no_product_key(text: str) -> None:
    assert not names.is_product_key(text)


@pytest.mark.parametrize("text", ["lamp", "lamp-01", "a_b@c.d:e", "d" * 32, "0000"])
def test_four_to_thirty_two_signs_make_a_device_name(text: str) -> None:
    assert names.is_device_name(text)


@pytest.mark.parametrize(
    "text", ["", "lam", "d" * 33, "lamp 01", "lamp/01", "lamp&01", "lamp+", "lamp#", "lamp\n", "灯灯灯灯"]
)
def test_anything_else_makes_no_device_name(text: str) -> None:
    assert not names.is_device_name(text)


@given(st.text(max_size=40))
def test_a_name_never_has_a_sign_with_a_meaning_in_topics_or_user_names(text: str) -> None:
    if names.is_device_name(text) or names.is_product_key(text):
        assert not set(text) & set("/+#&|?\0 ")


@pytest.mark.parametrize(
    ("text", "good"), [("a", True), ("Q" * 64, True), ("", False), ("Q" * 65, False), ("a-b", False)]
)
def test_an_iot_id_has_one_to_sixty_four_letters_and_digits(text: str, good: bool) -> None:
    assert names.is_iot_id(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("s", True),
        ("~" * 64, True),
        ("!\"#$%&'()*+,-./", True),
        ("", False),
        ("s" * 65, False),
        ("a b", False),
        ("a\n", False),
        ("ä", False),
    ],
)
def test_a_secret_has_one_to_sixty_four_printable_signs(text: str, good: bool) -> None:
    assert names.is_secret(text) is good


@pytest.mark.parametrize("text", ["lamp", "n" * 30, "灯灯", "灯" * 15, "la灯", "Lamp_-@()1"])
def test_a_product_name_is_4_to_30_wide(text: str) -> None:
    assert names.is_product_name(text)


@pytest.mark.parametrize("text", ["", "lam", "n" * 31, "灯", "灯" * 16, "灯a", "lamp lamp", "lamp.", "lamp\n"])
def test_other_widths_and_signs_make_no_product_name(text: str) -> None:
    assert not names.is_product_name(text)


@pytest.mark.parametrize("text", ["lamp", "n" * 64, "灯" * 32, "Küche_1", "キッチン"])
def test_a_nickname_is_4_to_64_wide(text: str) -> None:
    assert names.is_nickname(text)


@pytest.mark.parametrize("text", ["", "lam", "n" * 65, "灯" * 33, "lamp-01", "lamp(1)"])
def test_other_widths_and_signs_make_no_nickname(text: str) -> None:
    assert not names.is_nickname(text)


@pytest.mark.parametrize("text", ["lamp", "x" * 30, "灯灯", "消" * 15, "Group_1_组"])
def test_a_consumer_groups_name_is_4_to_30_wide(text: str) -> None:
    assert names.is_consumer_group_name(text)


@pytest.mark.parametrize("text", ["", "abc", "灯a", "x" * 31, "消" * 15 + "x", "a-bc", "with blank", "a@bc", "(ab)"])
def test_other_widths_and_signs_make_no_consumer_groups_name(text: str) -> None:
    assert not names.is_consumer_group_name(text)
