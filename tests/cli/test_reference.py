import json
from pathlib import Path

from linkstead.actions import ACTIONS
from linkstead.cli.differences import list_tests, read_differences
from linkstead.cli.operations import ACTION_REASONS, CHAPTER_REASONS, NOT_YET, make_page
from linkstead.cli.options import CONFIG_KEYS
from linkstead.cli.reference import make_pages, write_pages
from linkstead.explorer.operations import OPERATIONS
from linkstead.profiles import PROFILES, SWITCHES

DOCS = Path(__file__).parents[2] / "docs"
GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_pages_are_current() -> None:
    for name, text in make_pages().items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, "run `python -m linkstead.cli.reference docs`"


def test_the_pages_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    write_pages(tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == make_pages()


def test_every_command_has_its_heading() -> None:
    page = make_pages()["cli.md"]
    for name in (
        "dev",
        "serve",
        "demo",
        "call rrpc",
        "calls",
        "device create",
        "product update",
        "account add-key",
        "env",
    ):
        assert f"\n## linkstead {name}\n" in page


def test_every_operation_is_told_of_once() -> None:
    assert len(OPERATIONS) == 424
    described = json.loads((GOLDEN / "operations.json").read_text(encoding="utf-8"))["operations"]
    assert {operation["action"] for operation in described} | set(ACTIONS) <= set(OPERATIONS)
    lines = [line.split("`")[1] for line in make_page().splitlines() if line.startswith("| `")]
    assert sorted(lines) == sorted(OPERATIONS)


def test_what_is_served_needs_no_reason_and_what_is_not_has_one() -> None:
    assert set(CHAPTER_REASONS) <= set(OPERATIONS.values())
    assert set(ACTION_REASONS) <= set(OPERATIONS) - set(ACTIONS)
    page = make_page()
    assert "| `RRpc` | yes | |" in page
    assert f"| `AsyncRRpc` | no | {ACTION_REASONS['AsyncRRpc']} |" in page
    assert f"| `ListOTAFirmware` | no | {CHAPTER_REASONS['OTA']} |" in page
    not_yet = [line.split("`")[1] for line in page.splitlines() if line.endswith(f" {NOT_YET} |")]
    assert {OPERATIONS[action] for action in not_yet} <= {"Devices", "Device groups"}


def test_every_difference_is_held_by_a_test() -> None:
    tests = Path(__file__).parents[1]
    for name in list_tests():
        file, _, function = name.partition("::")
        assert f"def {function}(" in (tests / file).read_text(encoding="utf-8"), name


def test_every_difference_is_an_option_or_a_choice() -> None:
    for each in read_differences():
        assert (each.kind, bool(each.option)) in {("option", True), ("choice", False)}
        assert not each.option or each.option.removeprefix("--") in CONFIG_KEYS
    page = make_pages()["differences.md"]
    assert all(f"| {switch.subject} | {switch.documented} | {switch.observed} |" in page for switch in SWITCHES)
    assert set(SWITCHES) == PROFILES["documented"]
