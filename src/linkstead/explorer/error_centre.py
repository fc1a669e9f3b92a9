"""Looking codes up: what a code means, whether it is sent here, and by which actions."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from linkstead.errors import CATALOGUE, ErrorRow
from linkstead.explorer.operations import read_table
from linkstead.explorer.reference import GATEWAY_CODES, Language, Text, describe_actions

SEARCH_CHARS_MAX = 200
"""Of a search; what is longer is cut off."""

Layer = Literal["gateway", "action", "device"]


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One code of the catalogue.

    Attributes:
        row: what the server sends.
        layer: who says it: the gateway, with an HTTP status; an action, with HTTP 200; or a device, as a number.
        text: what it means, in English where there is no better.
        is_common: any action may be answered with it.
        actions: those served that can send it, besides.
    """

    row: ErrorRow
    layer: Layer
    text: Text
    is_common: bool
    actions: tuple[str, ...]

    @property
    def is_sent(self) -> bool:
        """True for a code that this server can send."""
        return self.is_common or bool(self.actions)


@functools.cache
def list_errors() -> tuple[ErrorEntry, ...]:
    """Every code: those that the server can send first, else in the order of the catalogue."""
    actions: dict[str, list[str]] = {}
    for reference in describe_actions().values():
        for row in reference.codes:
            actions.setdefault(row.code, []).append(reference.name)
    meanings = {row["code"]: row for row in read_table("meanings.csv")}
    entries = [
        ErrorEntry(
            row=row,
            layer=_find_layer(row),
            text=_make_text(row, meanings.get(row.code, {})),
            is_common=row in GATEWAY_CODES,
            actions=tuple(actions.get(row.code, ())),
        )
        for row in CATALOGUE.values()
    ]
    return tuple(sorted(entries, key=lambda entry: not entry.is_sent))


@functools.cache
def explain_codes() -> Mapping[str, Text]:
    """What each code means."""
    return {entry.row.code: entry.text for entry in list_errors()}


def search_errors(text: str, language: Language) -> list[ErrorEntry]:
    """The codes that hold every word of a text, in the code itself or in what it means; all for an empty text.

    A code as it was sent is found too: `MissingTimeout` is `Missing<Param>`.

    Args:
        text: words between blanks; letter case does not matter.
        language: of the meanings that are searched, besides English.
    """
    words = text[:SEARCH_CHARS_MAX].casefold().split()
    found = [entry for entry in list_errors() if _is_match(entry, words, language)]
    return sorted(found, key=lambda entry: [entry.row.code.casefold()] != words)


def _is_match(entry: ErrorEntry, words: list[str], language: Language) -> bool:
    code = entry.row.code.casefold()
    head, placeholder, _ = code.partition("<")
    if placeholder and len(words) == 1 and re.fullmatch(rf"{re.escape(head)}[a-z0-9.]+", words[0]):
        return True
    searched = f"{code} {entry.text['en']} {entry.text[language]}".casefold()
    return all(word in searched for word in words)


def _find_layer(row: ErrorRow) -> Layer:
    if not row.http_status:
        return "device"
    return "action" if row.is_business else "gateway"


def _make_text(row: ErrorRow, meaning: Mapping[str, str]) -> Text:
    english = row.message_en
    return {
        "en": english,
        "zh": row.message_zh or meaning.get("zh") or english,
        "ja": meaning.get("ja") or english,
    }
