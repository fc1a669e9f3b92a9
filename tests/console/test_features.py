import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.console.features import find_line, list_features
from tests.tsl.documents import read_sample

DOCUMENT = """{
  "a": [
    {"x": 1},
    {
      "k\\u00e9y": "]}",
      "x": {
        "deep": 3
      }
    }
  ],
  "b": {}
}"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 1),
        ("a", 2),
        ("a[0]", 3),
        ("a[1]", 4),
        ("a[1].kéy", 5),
        ("a[1].x.deep", 7),
        ("b", 11),
        ("b.missing", 11),
        ("a[9]", 2),
        ("missing", 1),
        ("a.x", 2),
        ("b[0]", 11),
    ],
)
def test_a_place_is_found_by_its_line(path: str, line: int) -> None:
    assert find_line(DOCUMENT, path) == line


@given(
    st.recursive(st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
    st.text(),
)
def test_any_document_and_any_path_have_a_line(value: object, path: str) -> None:
    text = json.dumps(value, indent=1)
    plain = path.replace("[", "").replace("]", "")
    assert 1 <= find_line(text, plain) <= text.count("\n") + 1


def test_features_are_listed_with_what_an_app_has_to_know() -> None:
    features = {feature.identifier: feature for feature in list_features(read_sample("lamp"))}
    assert (features["Blink"].kind, features["Blink"].mode) == ("service", "sync")
    assert features["Blink"].inputs == "Times: int 1..20; IntervalSec: float 0.1..5 s"
    assert features["RunScene"].mode == "async"
    assert features["RunScene"].inputs.endswith(
        "Steps: array[16] of struct {Level: int 0..100; HoldMs: int 0..600000 ms}"
    )
    assert (features["PowerSwitch"].mode, features["PowerSwitch"].outputs) == ("rw", "bool 0=off 1=on")
    assert features["LampFault"].kind == "event"


def test_features_of_modules_bear_its_name() -> None:
    assert any(":" in feature.identifier for feature in list_features(read_sample("multi-module")))
