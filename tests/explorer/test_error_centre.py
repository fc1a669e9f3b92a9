import pytest

from linkstead.errors import CATALOGUE
from linkstead.explorer.error_centre import SEARCH_CHARS_MAX, list_errors, search_errors
from linkstead.explorer.operations import read_table
from linkstead.explorer.reference import LANGUAGES, Language


def found(text: str, language: Language = "en") -> list[str]:
    return [entry.row.code for entry in search_errors(text, language)]


def test_every_code_is_listed_once_those_that_are_sent_first() -> None:
    entries = list_errors()
    assert sorted(entry.row.code for entry in entries) == sorted(CATALOGUE)
    sent = [entry.is_sent for entry in entries]
    assert sent == sorted(sent, reverse=True)
    assert found("") == [entry.row.code for entry in entries]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_sent_is_explained_in_every_language(language: Language) -> None:
    for entry in list_errors():
        if entry.is_sent:
            assert entry.text[language].isascii() == (language == "en"), entry.row.code


def test_no_meaning_is_stale() -> None:
    rows = read_table("meanings.csv")
    assert len({row["code"] for row in rows}) == len(rows)
    for row in rows:
        assert row["ja"]
        assert bool(row["zh"]) != bool(CATALOGUE[row["code"]].message_zh), row["code"]


def test_a_code_is_found_by_itself_first() -> None:
    assert found("iot.device.NotExistedDevice")[0] == "iot.device.NotExistedDevice"
    assert found("invalidaccesskeyid")[0] == "InvalidAccessKeyId"


def test_every_word_has_to_be_there() -> None:
    codes = found("device name taken")
    assert codes == ["iot.device.AlreadyExistedDeviceName"]
    assert found("device name taken xyzzy") == []


def test_meanings_are_searched_in_the_language_asked_for() -> None:
    assert "SignatureDoesNotMatch" in found("签名", "zh")
    assert "SignatureDoesNotMatch" in found("署名", "ja")
    assert found("署名", "zh") == []


@pytest.mark.parametrize("code", ["MissingTimeout", "missingdevicename.1", "InvalidQos"])
def test_a_code_with_a_name_in_it_is_found(code: str) -> None:
    assert any("<Param>" in each for each in found(code))


def test_a_code_tells_who_sends_it() -> None:
    (entry,) = (each for each in list_errors() if each.row.code == "iot.messagebroker.InvalidTimeoutValue")
    assert (entry.layer, entry.is_common, entry.actions) == ("action", False, ("RRpc",))
    (common,) = (each for each in list_errors() if each.row.code == "Throttling.User")
    assert (common.layer, common.is_common, common.actions) == ("gateway", True, ())
    (number,) = (each for each in list_errors() if each.row.code == "6207")
    assert (number.layer, number.is_sent) == ("device", False)


def test_a_search_has_a_bound() -> None:
    assert found("x" * SEARCH_CHARS_MAX + " device") == found("x" * SEARCH_CHARS_MAX)
    assert len(found(" " * SEARCH_CHARS_MAX + "xyzzy")) == len(CATALOGUE)
