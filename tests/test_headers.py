"""What every answer tells a browser that may be made to show it."""

import pytest

from tests.console.web import Visitor
from tests.rig import Rig
from tests.wire import fetch

pytestmark = pytest.mark.asyncio

PAGES = ["/console/login", "/console/", "/console/calls", "/console/nowhere", "/console/static/console.css"]
OTHERS = ["/", "/docs", "/healthz", "/readyz", "/openapi.json", "/metrics", "/_linkstead/calls", "/_linkstead/nowhere"]


@pytest.mark.parametrize("path", [*PAGES, *OTHERS])
async def test_no_answer_is_taken_for_something_else_or_put_into_a_frame(rig: Rig, path: str) -> None:
    for headers in ({"Accept": "text/html"}, {"Accept": "text/html", **rig.app().basic}):
        response = await fetch(rig.http, "GET", path, headers)
        assert response.headers["X-Content-Type-Options"] == "nosniff", response
        policy = response.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


async def test_pages_tell_no_other_site_where_they_are_and_share_no_window(rig: Rig) -> None:
    visitor = await Visitor(rig.http).log_in()
    for path in ("/", "/calls", "/devices"):
        response = await visitor.get(path)
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cache-Control"] == "no-store"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]


async def test_the_cookie_of_a_session_is_for_this_site_and_no_script(rig: Rig) -> None:
    response = await Visitor(rig.http).post("/login", name="app-key", secret="app-secret")
    words = response.headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/console"} <= set(words)
