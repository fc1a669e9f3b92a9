from pathlib import Path

from linkstead.cli.reference import make_pages, write_pages

DOCS = Path(__file__).parents[2] / "docs"


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
