import json

import pytest

from linkstead.cli.tables import print_record, print_records


def test_a_record_is_a_field_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_record({"name": "灯", "is_on": True, "note": ""}, as_json=False)
    assert capsys.readouterr().out == "name   灯\nis_on  yes\nnote\n"


def test_a_record_is_an_object_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_record({"name": "灯", "is_on": False}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"name": "灯", "is_on": False}


def test_records_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_records(["name", "keys"], [{"name": "lamp", "keys": ["a", "b"]}, {"name": "x", "keys": []}], as_json=False)
    assert capsys.readouterr().out == "name  keys\nlamp  a, b\nx\n"


def test_no_records_are_a_heading_or_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    print_records(["name"], [], as_json=False)
    print_records(["name"], [], as_json=True)
    assert capsys.readouterr().out == "name\n[]\n"
