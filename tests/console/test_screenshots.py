"""The pictures in the documentation."""

import pytest

from tests.console.screenshots import DIRECTORY, PAGES

TEXT = (DIRECTORY.parents[1] / "console.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["login", "call", *PAGES])
def test_every_page_is_shown_light_and_dark(page: str, scheme: str) -> None:
    assert f"](images/console/{page}-{scheme}.png)" in TEXT
    assert (DIRECTORY / f"{page}-{scheme}.png").stat().st_size <= 122_880
