"""Any thing model."""

import string
from typing import Any

from hypothesis import strategies as st

from linkstead.tsl import (
    Array,
    Choice,
    DataType,
    Date,
    Event,
    Module,
    Numeric,
    Parameter,
    Property,
    Service,
    Struct,
    Text,
    ThingModel,
)
from linkstead.tsl.limits import (
    ARRAY_SIZE_MAX,
    FLOAT_MAX,
    IDENTIFIER_CHARS_MAX,
    INT_MAX,
    INT_MIN,
    LABEL_CHARS_MAX,
    MODULE_ID_CHARS_MAX,
    NAME_CHARS_MAX,
    RESERVED_IDENTIFIERS,
    TEXT_LENGTH_BYTES_MAX,
)

WORD_CHARS = string.ascii_letters + string.digits + "_"

member_identifiers = st.text(WORD_CHARS, min_size=1, max_size=IDENTIFIER_CHARS_MAX)
identifiers = member_identifiers.filter(lambda text: text not in RESERVED_IDENTIFIERS)
_letters = st.characters(categories=["L", "Nd"])
_signs = st.one_of(_letters, st.sampled_from("-_/. "))


def names(chars_min: int = 1) -> st.SearchStrategy[str]:
    """Names for people."""
    rest = st.text(_signs, min_size=chars_min - 1, max_size=NAME_CHARS_MAX - 1)
    return st.builds(str.__add__, _letters, rest)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
others: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.text(WORD_CHARS, max_size=5).map("x-".__add__), json_values, max_size=1
)
nothing: st.SearchStrategy[dict[str, Any]] = st.builds(dict)
_steps = st.sampled_from(["", "1", "0.1", "2.50", "1e-7", "30"])


@st.composite
def numerics(draw: st.DrawFn, type_others: st.SearchStrategy[dict[str, Any]] = others) -> Numeric:
    """Numbers of every kind, with both bounds, with one, without."""
    kind = draw(st.sampled_from(["int", "float", "double"]))
    if kind == "int":
        bounds = sorted(draw(st.lists(st.integers(INT_MIN, INT_MAX), min_size=2, max_size=2)))
        low, high = map(str, bounds)
    else:
        largest = FLOAT_MAX if kind == "float" else None
        floats = st.floats(min_value=largest and -largest, max_value=largest, allow_nan=False, allow_infinity=False)
        low, high = map(repr, sorted(draw(st.lists(floats, min_size=2, max_size=2))))
    return Numeric(
        type=kind,  # type: ignore[arg-type]
        min=draw(st.sampled_from([low, ""])),
        max=draw(st.sampled_from([high, ""])),
        step=draw(_steps),
        unit=draw(st.sampled_from(["", "°C", "%"])),
        unit_name=draw(st.sampled_from(["", "摄氏度"])),
        specs_others=draw(others),
        others=draw(type_others),
    )


_labels = st.text(max_size=LABEL_CHARS_MAX)


def choices(type_others: st.SearchStrategy[dict[str, Any]] = others) -> st.SearchStrategy[Choice]:
    """Enums and bools."""
    items = st.dictionaries(st.integers(INT_MIN, INT_MAX), _labels, min_size=1, max_size=5)
    enums = st.builds(Choice, st.just("enum"), items.map(lambda labels: tuple(labels.items())), others=type_others)
    return enums | st.builds(
        Choice,
        st.just("bool"),
        st.tuples(_labels, _labels).map(lambda pair: tuple(enumerate(pair))),
        others=type_others,
    )


def texts(type_others: st.SearchStrategy[dict[str, Any]] = others) -> st.SearchStrategy[Text]:
    """Texts of every length."""
    return st.builds(Text, st.none() | st.integers(1, TEXT_LENGTH_BYTES_MAX), others, others=type_others)


def structs(type_others: st.SearchStrategy[dict[str, Any]] = others) -> st.SearchStrategy[Struct]:
    """Structs of everything that may be in one."""
    simple = (
        numerics(type_others) | choices(type_others) | texts(type_others) | st.builds(Date, others, others=type_others)
    )
    members = st.builds(Parameter, member_identifiers, names(), simple, others)
    return st.builds(
        Struct,
        st.lists(members, min_size=1, max_size=4, unique_by=lambda member: member.identifier).map(tuple),
        others=type_others,
    )


def data_types(type_others: st.SearchStrategy[dict[str, Any]] = others) -> st.SearchStrategy[DataType]:
    """Every data type."""
    items = numerics(type_others) | texts(type_others) | structs(type_others)
    return st.one_of(
        numerics(type_others),
        choices(type_others),
        texts(type_others),
        st.builds(Date, others, others=type_others),
        structs(type_others),
        st.builds(Array, st.integers(1, ARRAY_SIZE_MAX), items, others, others=type_others),
    )


def modules(
    module_id: str = "",
    type_others: st.SearchStrategy[dict[str, Any]] = others,
    descriptions: st.SearchStrategy[str] | None = None,
    module_others: st.SearchStrategy[dict[str, Any]] = others,
    profiles: st.SearchStrategy[dict[str, Any]] | None = None,
) -> st.SearchStrategy[Module]:
    """Modules with a few features of each kind."""
    descriptions = st.text(max_size=20) if descriptions is None else descriptions
    types = data_types(type_others)

    def unique(things: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
        return st.lists(things, max_size=2, unique_by=lambda thing: thing.identifier).map(tuple)

    parameters = unique(st.builds(Parameter, identifiers, names(), types, others))
    properties = st.builds(
        Property, identifiers, names(), types, st.sampled_from(["r", "rw", "w"]), st.booleans(), descriptions, others
    )
    event_types = st.sampled_from(["info", "alert", "error"])
    events = st.builds(Event, identifiers, names(), event_types, parameters, st.booleans(), descriptions, others)
    services = st.builds(
        Service,
        identifiers,
        names(),
        st.sampled_from(["sync", "async"]),
        parameters,
        parameters,
        st.booleans(),
        descriptions,
        others,
    )
    return st.builds(
        Module,
        module_id=st.just(module_id),
        name=names(chars_min=4) if module_id else st.just(""),
        properties=unique(properties),
        events=unique(events),
        services=unique(services),
        profile=st.fixed_dictionaries({"version": st.text(max_size=4)}) if profiles is None else profiles,
        others=module_others,
    )


@st.composite
def models(draw: st.DrawFn) -> ThingModel:
    """Models with a default module and sometimes a custom one."""
    drawn = [draw(modules())]
    if draw(st.booleans()):
        ids = st.text(WORD_CHARS, min_size=1, max_size=MODULE_ID_CHARS_MAX).filter(lambda text: text != "default")
        drawn.append(draw(modules(draw(ids))))
    return ThingModel("a1Lnk5tEad0", tuple(drawn))
