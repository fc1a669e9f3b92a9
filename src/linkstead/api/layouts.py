"""What the requests of one program have in common: names, their order, and most values.

A client's request differs from its last one in its nonce, its signature, and in what it asks of which device; the rest
is the same to the letter. So a request is first held against the layouts of those before it. One that has a
known layout is read, put in order and bound with work for what is new alone; any other goes the general way of
`api.parameters`, which gives the same.
"""

from collections.abc import Mapping
from typing import Any, Final

from linkstead.action import RequestShape
from linkstead.api.parameters import (
    BadEncoding,
    Reader,
    bind,
    plan_request,
    shown_name,
    unescape,
    unknown_parameters,
)

LAYOUT_PAIRS_MAX: Final = 32
"""Parameters of a request whose layout is remembered."""

LAYOUTS_OF_LENGTH_MAX: Final = 4
"""Layouts remembered of one number of parameters; the next takes the place of the oldest."""

NAME_KEPT_CHARS_MAX: Final = 64
"""Of a request with a longer name, as it was sent, no layout is remembered."""

PAIR_KEPT_CHARS_MAX: Final = 256
"""Of a longer pair nothing is remembered but its name."""

_UNKNOWN: Final = "&"
"""What no pair is."""

_UNSIGNED: Final = -1


def _copy(shape: Any) -> Any:
    # `copy.copy` would only look this up, at the price of all the rest.
    return shape.__copy__()


class _Binding:
    """An action's request as far as a layout tells it.

    `prototype` holds what is the same in all of them; `fields` are attribute, name and reader of what is not.
    """

    __slots__ = ("fields", "prototype", "unknown")

    def __init__(self, prototype: Any, fields: list[tuple[str, str, Reader | None]], unknown: list[str]) -> None:
        self.prototype = prototype
        self.fields = fields
        self.unknown = unknown


class Layout:
    """Names, order and lasting values of requests.

    Args:
        pairs: of one request, as sent.
        parameters: what they mean, one for each pair and in the same order.
        is_v3: they are signed by V3, as sent; else by V1, escaped once more.
    """

    __slots__ = (
        "_all_signed",
        "_bindings",
        "_is_lasting",
        "_is_v3",
        "_names",
        "_parameters",
        "_places",
        "_recent",
        "_signed_starts",
        "_starts",
    )

    def __init__(self, pairs: list[str], parameters: dict[str, str], is_v3: bool) -> None:
        self._is_v3 = is_v3
        self._names = list(parameters)
        self._starts = [pair[: pair.index("=") + 1] for pair in pairs]
        if is_v3:
            self._signed_starts = self._starts
            self._all_signed = [f"{name}=" for name in sorted([start[:-1] for start in self._starts])]
        else:
            self._signed_starts = [start[:-1].replace("%", "%25") + "%3D" for start in self._starts]
            # "%3D" behind them has names in order whatever the values are, see `check_v1`.
            self._all_signed = sorted(start for start in self._signed_starts if start != "Signature%3D")
        self._places = [
            self._all_signed.index(start) if start in self._all_signed else _UNSIGNED for start in self._signed_starts
        ]
        # Pairs of the last request, what they mean and how they are signed; nothing of one that is too long.
        self._recent = [_UNKNOWN] * len(pairs)
        self._parameters = dict.fromkeys(self._names, "")
        self._is_lasting = [True] * len(pairs)
        self._bindings: dict[object, _Binding] = {}
        for index, pair in enumerate(pairs):
            self._keep(index, pair)

    def read(self, pairs: list[str]) -> tuple[dict[str, str], list[str]] | None:
        """What these pairs mean, and the pairs as they are signed, in order; None where they are not in this layout.

        With V1 both are what `read_pairs` gives.

        Raises:
            BadEncoding: bytes that are not UTF-8.
        """
        recent, starts = self._recent, self._starts
        if not pairs[0].startswith(starts[0]) or not pairs[-1].startswith(starts[-1]):
            return None
        long: list[int] = []
        for index, pair in enumerate(pairs):
            if pair == recent[index]:
                continue
            if not pair.startswith(starts[index]):
                return None
            if self._is_lasting[index]:
                self._is_lasting[index] = False
                self._bindings.clear()
            if not self._keep(index, pair):
                long.append(index)
        parameters, all_signed = self._parameters.copy(), self._all_signed.copy()
        for index in long:
            value, signed = self._read_value(index, pairs[index])
            parameters[self._names[index]] = value
            if self._places[index] != _UNSIGNED:
                all_signed[self._places[index]] = signed
        return parameters, all_signed

    def _keep(self, index: int, pair: str) -> bool:
        """Keep a pair for the next request, which may have it too. False where it is too long for that."""
        if len(pair) > PAIR_KEPT_CHARS_MAX:
            self._is_lasting[index] = False
            return False
        value, signed = self._read_value(index, pair)
        self._recent[index] = pair
        self._parameters[self._names[index]] = value
        place = self._places[index]
        if place != _UNSIGNED:
            self._all_signed[place] = signed
        return True

    def _read_value(self, index: int, pair: str) -> tuple[str, str]:
        """What a pair means, and the pair as it is signed."""
        value = pair[len(self._starts[index]) :]
        if "%" not in value:
            return value, pair if self._is_v3 else self._signed_starts[index] + value
        signed = pair if self._is_v3 else self._signed_starts[index] + value.replace("%", "%25")
        try:
            return unescape(value), signed
        except UnicodeDecodeError:
            raise BadEncoding(shown_name(pair)) from None

    def list_unknown(
        self, request_type: type[RequestShape], parameters: dict[str, str], aliases: Mapping[str, str]
    ) -> list[str]:
        """See `unknown_parameters`; for parameters that were read by this layout."""
        binding = self._bindings.get(request_type)
        return binding.unknown if binding is not None else unknown_parameters(request_type, parameters, aliases)

    def bind(
        self, request_type: type[RequestShape], parameters: dict[str, str], aliases: Mapping[str, str]
    ) -> RequestShape:
        """See `api.parameters.bind`; for parameters that were read by this layout.

        Args:
            aliases: always the same of a request type.
        """
        binding = self._bindings.get(request_type)
        if binding is None:
            return self._bind_first(request_type, parameters, aliases)
        bound: RequestShape = _copy(binding.prototype)
        for attribute, name, read in binding.fields:
            text = parameters[name]
            if not text:
                # Empty may be absent.
                return bind(request_type, parameters, aliases)
            setattr(bound, attribute, text if read is None else read(name, text))
        return bound

    def _bind_first(
        self, request_type: type[RequestShape], parameters: dict[str, str], aliases: Mapping[str, str]
    ) -> RequestShape:
        bound = bind(request_type, parameters, aliases)
        plan = plan_request(request_type)
        # Lists go the general way, and parameters under another name: errors tell the proper one.
        if not plan.lists and not any(alias in parameters for alias in aliases):
            varying = {name for name, is_lasting in zip(self._names, self._is_lasting, strict=True) if not is_lasting}
            fields = [(field.attribute, field.name, field.read) for field in plan.scalars if field.name in varying]
            unknown = unknown_parameters(request_type, parameters, aliases)
            self._bindings[request_type] = _Binding(_copy(bound), fields, unknown)
        return bound


class Layouts:
    """Layouts of the requests that were taken lately, `LAYOUTS_OF_LENGTH_MAX` of each number of parameters.

    Only who signs rightly has one remembered.

    Args:
        is_v3: of requests that are signed by V3, else of those by V1.
    """

    __slots__ = ("_is_v3", "_of_length")

    def __init__(self, *, is_v3: bool = False) -> None:
        self._is_v3 = is_v3
        self._of_length: dict[int, list[Layout]] = {}

    def __len__(self) -> int:
        return sum(len(layouts) for layouts in self._of_length.values())

    def read(self, pairs: list[str]) -> tuple[Layout, dict[str, str], list[str]] | None:
        """The layout that pairs are in, and what `Layout.read` gives; None where there is none."""
        layouts = self._of_length.get(len(pairs))
        if layouts is not None:
            for layout in layouts:
                read = layout.read(pairs)
                if read is not None:
                    return layout, read[0], read[1]
        return None

    def remember(self, pairs: list[str], parameters: dict[str, str]) -> None:
        """Keep the layout of a request that has none of those known, where it can be kept: each name is in it once."""
        if len(pairs) != len(parameters) or len(pairs) > LAYOUT_PAIRS_MAX:
            return
        for pair in pairs:
            if not 0 <= pair.find("=") <= NAME_KEPT_CHARS_MAX:
                return
        layouts = self._of_length.setdefault(len(pairs), [])
        if len(layouts) >= LAYOUTS_OF_LENGTH_MAX:
            del layouts[0]
        layouts.append(Layout(pairs, parameters, self._is_v3))
