"""A request for `/console/…` in, a reply out: who asks, in which language, and which page answers."""

import hmac
import logging
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.console import calls, devices, entrance, explorer, faults, messages, overview, products
from linkstead.console.desk import Desk
from linkstead.console.login import COOKIE, find_viewer
from linkstead.console.route import Route
from linkstead.console.texts import Words, choose_language
from linkstead.console.visit import GUARDS, PREFIX, Refused, Visit
from linkstead.errors import ApiError

log = logging.getLogger(__name__)

FIELDS_MAX = 1_000
STATIC = "/static/"
KEEP_S = 31_536_000

ROUTES: Sequence[Route] = (
    *entrance.ROUTES,
    *overview.ROUTES,
    *calls.ROUTES,
    *products.ROUTES,
    *devices.ROUTES,
    *messages.ROUTES,
    *explorer.ROUTES,
    *faults.ROUTES,
)


class Console:
    """Answers requests of browsers.

    Args:
        desk: what pages reach.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._routes = [(route, route.compile()) for route in ROUTES]

    async def answer(self, request: HttpRequest) -> HttpReply:
        """Answer one request; nothing is raised."""
        path = request.path.removeprefix(PREFIX)
        if path.startswith(STATIC):
            return self._send_asset(request, unquote(path.removeprefix(STATIC)))
        cookies = _read_cookies(request)
        words = Words(choose_language(cookies.get("linkstead-language", ""), request.header("accept-language") or ""))
        theme = cookies.get("linkstead-theme", "")
        visit = Visit(self._desk, request, words, theme if theme in ("light", "dark") else "", None)
        try:
            now_s = self._desk.clock.time_s()
            visit.viewer = await find_viewer(self._desk.registry, cookies.get(COOKIE, ""), now_s)
            return await self._visit(visit, path)
        except Refused as refused:
            return visit.page("error.html", refused.status, title=words(refused.key), detail=refused.detail)
        except ApiError as error:
            status = error.row.http_status if not error.row.is_business else 404
            message = error.message("zh" if visit.language == "zh" else "en")
            return visit.page("error.html", status, title=words("error.refused"), detail=f"{error.code}: {message}")
        except Exception:
            # The edge of the core: whatever was wrong, the browser is told, and the log.
            log.exception("a page failed", extra={"path": request.path})
            return visit.page("error.html", 500, title=words("error.server"), detail="")

    async def _visit(self, visit: Visit, path: str) -> HttpReply:
        request = visit.request
        if path == "":
            return visit.to("/")
        visit.fields = _read_pairs(request.query)
        method = "GET" if request.method == "HEAD" else request.method
        is_known = False
        for route, pattern in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            is_known = True
            if route.method != method:
                continue
            visit.names = {name: unquote(value) for name, value in match.groupdict().items()}
            if visit.viewer is None and not route.is_open:
                return _ask_to_log_in(visit, path)
            if method == "POST":
                _check_origin(request)
                visit.form = _read_pairs(request.body)
                _check_token(visit)
            return await route.handler(visit)
        raise Refused(405, "error.method") if is_known else Refused(404, "error.not-found", request.path)

    def _send_asset(self, request: HttpRequest, name: str) -> HttpReply:
        asset = self._desk.assets.find(name)
        if asset is None or request.method not in ("GET", "HEAD"):
            return HttpReply(404, "text/plain;charset=utf-8", b"there is no such file\n", headers=dict(GUARDS))
        tag = f'"{asset.version}"'
        is_named = f"v={asset.version}".encode() in request.query
        headers = {
            **GUARDS,
            "ETag": tag,
            "Cache-Control": f"public, max-age={KEEP_S}, immutable" if is_named else "no-cache",
        }
        if request.header("if-none-match") == tag:
            return HttpReply(304, asset.content_type, b"", headers=headers)
        return HttpReply(200, asset.content_type, asset.body, headers=headers)


def _ask_to_log_in(visit: Visit, path: str) -> HttpReply:
    request = visit.request
    if request.method == "GET" and "text/html" in (request.header("accept") or "") and not request.header("hx-request"):
        query = request.query.decode("latin-1")
        return visit.to("/login", next=PREFIX + path + ("?" + query if query else ""))
    reply = visit.page("error.html", 401, title=visit.words("error.logged-out"), detail="")
    reply.headers["HX-Redirect"] = f"{PREFIX}/login"
    return reply


def _check_origin(request: HttpRequest) -> None:
    """Raises Refused for a form that a page from elsewhere has sent."""
    origin = request.header("origin")
    is_elsewhere = origin is not None and urlsplit(origin).netloc != request.header("host")
    if is_elsewhere or request.header("sec-fetch-site") not in (None, "same-origin", "none"):
        raise Refused(403, "error.origin")


def _check_token(visit: Visit) -> None:
    if visit.viewer is None:
        return
    token = visit.form.get("csrf") or visit.request.header("x-csrf-token") or ""
    if not hmac.compare_digest(token.encode(), visit.viewer.csrf.encode()):
        raise Refused(403, "error.token")


def _read_cookies(request: HttpRequest) -> Mapping[str, str]:
    cookies: dict[str, str] = {}
    for header in request.headers.get("cookie", []):
        for part in header.split(";")[:FIELDS_MAX]:
            name, _, value = part.strip().partition("=")
            cookies.setdefault(name, value)
    return cookies


def _read_pairs(data: bytes) -> Mapping[str, str]:
    """Raises Refused for too many."""
    try:
        pairs = parse_qsl(data.decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise Refused(400, "error.form") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields
