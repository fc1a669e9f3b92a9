"""Logging in and out, and what the browser remembers of the viewer's wishes."""

import asyncio

from linkstead.api.exchange import HttpReply
from linkstead.api.passwords import CONSOLE_USER, check_password
from linkstead.console.login import COOKIE, SESSION_S_MAX, make_cookie
from linkstead.console.route import Route
from linkstead.console.texts import LANGUAGES
from linkstead.console.visit import PREFIX, Refused, Visit
from linkstead.errors import codes
from linkstead.registry import AccessKey

WISH_S = 31_536_000
NAME_CHARS_MAX = 64


async def show_login(visit: Visit) -> HttpReply:
    """The form."""
    if visit.viewer is not None:
        return visit.to(_safe_next(visit.fields.get("next", "")))
    return visit.page("login.html", next=visit.fields.get("next", ""), error="", name="")


async def log_in(visit: Visit) -> HttpReply:
    """Take an access key and its secret."""
    desk, request, form = visit.desk, visit.request, visit.form
    now_s = desk.clock.time_s()
    name, secret = form.get("name", "").strip(), form.get("secret", "")
    error = ""
    if not request.is_private:
        error = "login.overheard"
    elif desk.failures.is_full(request.peer, now_s):
        error = "login.too-many"
    if error:
        return visit.page("login.html", 403, next=form.get("next", ""), error=visit.words(error), name=name)
    # Counted before it is known: of many tries at once no more are looked at than of as many in a row.
    desk.failures.add(request.peer, now_s)
    key = await desk.openapi.check_secret(name, secret) or await _check_password(visit, name, secret)
    if key is not None:
        desk.failures.forgive(request.peer)
    else:
        desk.openapi.record(request, codes.INVALID_ACCESS_KEY_ID_NOT_FOUND.code, None, name)
        error = visit.words("login.wrong")
        return visit.page("login.html", 401, next=form.get("next", ""), error=error, name=name)
    reply = visit.to(_safe_next(form.get("next", "")))
    reply.headers["Set-Cookie"] = _cookie(visit, COOKIE, make_cookie(key, now_s), SESSION_S_MAX, is_hidden=True)
    return reply


async def _check_password(visit: Visit, name: str, password: str) -> AccessKey | None:
    """The console user of this name, when the password is right; away from the event loop, as it takes its time."""
    if len(name) > NAME_CHARS_MAX:
        return None
    found = await visit.desk.registry.find_access_key(CONSOLE_USER + name)
    is_right = await asyncio.to_thread(check_password, password, found.secret if found is not None else "")
    return found if found is not None and found.enabled and is_right else None


async def log_out(visit: Visit) -> HttpReply:
    """Have the browser forget the session."""
    reply = visit.to("/login")
    reply.headers["Set-Cookie"] = _cookie(visit, COOKIE, "", 0, is_hidden=True)
    return reply


async def choose_language(visit: Visit) -> HttpReply:
    """Remember a language."""
    if visit.fields.get("to") not in LANGUAGES:
        raise Refused(400, "error.form")
    reply = visit.to(_safe_next(visit.fields.get("next", "")))
    reply.headers["Set-Cookie"] = _cookie(visit, "linkstead-language", visit.fields["to"], WISH_S)
    return reply


async def choose_theme(visit: Visit) -> HttpReply:
    """Remember dark or light."""
    theme = visit.fields.get("to", "")
    if theme not in ("light", "dark"):
        raise Refused(400, "error.form")
    reply = visit.to(_safe_next(visit.fields.get("next", "")))
    reply.headers["Set-Cookie"] = _cookie(visit, "linkstead-theme", theme, WISH_S)
    return reply


def _cookie(visit: Visit, name: str, value: str, age_s: int, *, is_hidden: bool = False) -> str:
    text = f"{name}={value}; Path={PREFIX}; Max-Age={age_s}; SameSite=Strict"
    if is_hidden:
        text += "; HttpOnly"
    # From this very machine it may be plain HTTP, which a Secure cookie is not kept for.
    if visit.request.peer not in ("127.0.0.1", "::1", "") or visit.request.header("x-forwarded-proto") == "https":
        text += "; Secure"
    return text


def _safe_next(path: str) -> str:
    """Where to go on, below `/console`; never to another site."""
    is_ours = path.startswith(PREFIX + "/") and path.isascii() and path.isprintable() and "\\" not in path
    return path.removeprefix(PREFIX) if is_ours and not path.startswith(f"{PREFIX}/log") else "/"


ROUTES = (
    Route("GET", "/login", show_login, is_open=True),
    Route("POST", "/login", log_in, is_open=True),
    Route("POST", "/logout", log_out),
    Route("GET", "/language", choose_language, is_open=True),
    Route("GET", "/theme", choose_theme, is_open=True),
)
