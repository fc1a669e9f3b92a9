"""The words of the console in its languages: one table, a row a text, a column a language."""

import csv
import importlib.resources
from typing import Literal, get_args

Language = Literal["en", "zh", "ja"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
LANGUAGE_NAMES: dict[Language, str] = {"en": "English", "zh": "中文", "ja": "日本語"}


def _read() -> dict[Language, dict[str, str]]:
    source = importlib.resources.files(__package__).joinpath("texts.csv").read_text("utf-8")
    rows = list(csv.DictReader(source.splitlines(keepends=True)))
    return {language: {row["key"]: row[language] for row in rows} for language in LANGUAGES}


TEXTS = _read()


class Words:
    """The texts of one language: `words("nav.calls")`."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._texts = TEXTS[language]

    def __call__(self, key: str, **fills: object) -> str:
        """The text of a key, with what stands in braces filled in.

        Raises:
            KeyError: there is no such text: a mistake of ours.
        """
        text = self._texts[key]
        return text.format(**fills) if fills else text


def choose_language(chosen: str, accepted: str) -> Language:
    """The language that was chosen, else the first of `Accept-Language` that there is, else English."""
    for name in (chosen, *(part.partition(";")[0] for part in accepted.split(",")[:20])):
        short = name.strip().lower()[:2]
        for language in LANGUAGES:
            if language == short:
                return language
    return "en"
