import importlib.resources
import re
import string
from pathlib import Path

import pytest

from linkstead.actions import ACTIONS
from linkstead.console.devices import STATUSES
from linkstead.console.pages import NAVIGATION, TEMPLATES
from linkstead.console.pulse import TONE_NAMES
from linkstead.console.texts import LANGUAGES, TEXTS, Words, choose_language
from linkstead.explorer.operations import OPERATIONS
from linkstead.invocation import Stage, Stray
from linkstead.sessions import Way

SOURCES = Path(str(importlib.resources.files("linkstead.console")))
MADE = {
    **{f"nav.{name}": "navigation" for _, name in NAVIGATION},
    **{f"stage.{name}": "timeline" for name in (*Stage, *Stray, "deadline")},
    **{f"status.{name}": "device" for name in STATUSES},
    **{f"tone.{name}": "chart" for name in TONE_NAMES},
    **{f"messages.{way}": "message" for way in Way},
    **{f"mode.{name}": "model" for name in ("r", "rw", "w", "sync", "async", "info", "alert", "error")},
    **{f"feature.{name}": "model" for name in ("property", "event", "service")},
    **{f"operation.{number}": "topic" for number in range(3)},
    **{f"payload.{name}": "payload" for name in ("text", "json", "hex")},
    **{f"product.node-{number}": "product" for number in range(2)},
    **{f"product.format-{number}": "product" for number in range(2)},
    **{f"chapter.{OPERATIONS[name]}": "explorer" for name in ACTIONS},
    **{f"errors.layer-{name}": "error centre" for name in ("action", "device", "gateway")},
    **{f"explorer.{name}-{version}": "explorer" for name in ("canonical", "signed") for version in ("v1", "v3")},
    **{f"vital.{name}": "vitals" for name in ("state", "ready", "stopping", "connected", "under-way", "to-write")},
}
"""Keys that are put together where they are used."""

KEY = re.compile(r"""["']([a-z][a-z0-9-]*\.[a-z]([a-z0-9-]*[a-z0-9])?)["']""")


def _used() -> set[str]:
    files = [*TEMPLATES.glob("*.html"), *SOURCES.glob("*.py")]
    heads = {key.partition(".")[0] for key in TEXTS["en"]}
    found = {key for path in files for key, _ in KEY.findall(path.read_text("utf-8"))}
    return {key for key in found if key.partition(".")[0] in heads and not key.endswith((".html", ".js", ".css"))}


def test_every_text_that_is_used_is_there_and_none_besides() -> None:
    assert _used() | set(MADE) == set(TEXTS["en"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_there_in_every_language(language: str) -> None:
    texts = TEXTS[language]  # type: ignore[index]
    assert [key for key, text in texts.items() if not text or text != text.strip()] == []


def test_languages_fill_in_the_same() -> None:
    def fills(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

    for key, text in TEXTS["en"].items():
        assert all(fills(TEXTS[language][key]) == fills(text) for language in LANGUAGES), key


def test_keys_are_in_order() -> None:
    assert list(TEXTS["en"]) == sorted(TEXTS["en"])


def test_a_text_is_filled_in() -> None:
    assert Words("en")("payload.bytes", count=3) == "3 bytes"
    assert Words("zh")("payload.bytes", count=3) == "3 字节"
    with pytest.raises(KeyError):
        Words("en")("nothing.there")


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [("ja", "zh", "ja"), ("", "zh-CN", "zh"), ("", "fr;q=1, JA;q=0.1", "ja"), ("xx", "", "en"), ("", "," * 500, "en")],
)
def test_a_language_is_chosen(chosen: str, accepted: str, language: str) -> None:
    assert choose_language(chosen, accepted) == language
