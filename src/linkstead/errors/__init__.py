"""Errors of the OpenAPI: one row a code, raised as `ApiError`.

Two layers answer differently on the wire: the gateway (signature, unknown action, missing parameter, throttling) with
an HTTP status of its own, and the business layer (codes that begin with `iot.`) with HTTP 200 and `"Success":false`.
"""

import csv
import importlib.resources
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One code of the vendor's catalogue. The numeric codes belong to devices and logs: their `http_status` is 0.

    Source: the `source` column; `message_origin` says whether the text was seen on the wire or is our own wording.
    """

    code: str
    http_status: int
    message_en: str
    message_zh: str
    source: str
    message_origin: str

    @property
    def is_business(self) -> bool:
        """True for codes that travel with HTTP 200 inside an action's own answer."""
        return self.code[:4].lower() == "iot."


def _read_catalogue() -> dict[str, ErrorRow]:
    text = importlib.resources.files(__name__).joinpath("catalogue.csv").read_text(encoding="utf-8")
    return {
        row["code"]: ErrorRow(
            code=row["code"],
            http_status=int(row["http_status"] or 0),
            message_en=row["message_en"],
            message_zh=row["message_zh"],
            source=row["source"],
            message_origin=row["message_origin"],
        )
        for row in csv.DictReader(text.splitlines())
    }


CATALOGUE = _read_catalogue()


class ApiError(Exception):
    """An answer other than success, to be rendered by `api.render`.

    Args:
        row: the code's row of the catalogue.
        rule: what a good value looks like, in signs rather than words to read in every language ("1000..8000").
        fills: replaces `<Name>` in the row's message.
        text: takes the place of the row's message, where the vendor sends one that depends on the case.
        values: the parameters at fault with the values they had; never a secret.
    """

    def __init__(
        self, row: ErrorRow, *, rule: str = "", fills: dict[str, str] | None = None, text: str = "", **values: object
    ) -> None:
        super().__init__(row.code)
        self.row = row
        self.text = text
        self.rule = rule
        self.fills = fills or {}
        self.values = values

    @property
    def code(self) -> str:
        """The code as sent, placeholders of the row's name filled in (`Missing<Param>` becomes `MissingTimeout`)."""
        return self._fill(self.row.code)

    def message(self, language: Language) -> str:
        """The text as sent: the catalogue's words, then the parameter, its value and the rule where they are known."""
        text = self.text or self._fill((self.row.message_zh if language == "zh" else "") or self.row.message_en)
        parts = [f"{name}={_shorten(str(value))}" for name, value in self.values.items()]
        if self.rule:
            parts.append(self.rule)
        return f"{text} ({'; '.join(parts)})" if parts else text

    def _fill(self, text: str) -> str:
        for name, value in self.fills.items():
            text = text.replace(f"<{name}>", value)
        return text


VALUE_CHARS_MAX = 80


def _shorten(text: str) -> str:
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"


def missing_parameter(name: str) -> ApiError:
    """The gateway's error for a parameter that is absent: code `Missing<Param>`, status 400."""
    return ApiError(CATALOGUE["Missing<Param>"], fills={"Param": name})


def invalid_parameter(name: str) -> ApiError:
    """The gateway's error for a parameter that cannot be read as its type: code `Invalid<Param>`, status 400."""
    return ApiError(CATALOGUE["Invalid<Param>"], fills={"Param": name})
