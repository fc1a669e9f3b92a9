"""What the page on thing models shows is so."""

import re
from pathlib import Path

import pytest

from linkstead.tsl import ModelChecker, ModelError, ThingModel, read_literal_object, read_tsl
from tests.tsl.documents import read_sample

PAGE = (Path(__file__).parents[2] / "docs" / "thing-model.md").read_text(encoding="utf-8")
DOCUMENT = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0]


def test_model_of_the_page_can_be_read() -> None:
    module = read_tsl(DOCUMENT).module
    assert [found.identifier for found in module.features] == ["Brightness", "Blink"]


def test_fault_of_the_page_is_what_is_said() -> None:
    with pytest.raises(ModelError) as caught:
        read_tsl(DOCUMENT.replace('"min": "0.1"', '"min": "6"'))
    assert f"    {caught.value}\n" in PAGE


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        ("RunScene", '{"SceneId":"a","Steps":[{"Level":1,"HoldMs":"x"}]}'),
        ("Blink", '{"Times":21,"IntervalSec":0.5}'),
        ("Blink", '{"Times":3}'),
        ("Blink", '{"Times":3,"IntervalSec":0.5,"Speed":3}'),
    ],
)
def test_message_of_the_page_is_what_is_said(identifier: str, text: str) -> None:
    service = ModelChecker(read_sample("lamp")).find_service(identifier)
    assert service is not None
    fault = service.check_input(read_literal_object(text))
    assert fault is not None
    assert f"    {fault.message}\n" in PAGE


def test_model_of_the_page_checks_a_call() -> None:
    document = read_tsl(DOCUMENT)
    service = ModelChecker(ThingModel(document.product_key, (document.module,))).find_service("Blink")
    assert service is not None
    assert service.check_input(read_literal_object("{'Times': 3, 'IntervalSec': 10.0,}")) is not None
    assert service.check_input(read_literal_object("{'Times': 3, 'IntervalSec': 1.0,}")) is None
