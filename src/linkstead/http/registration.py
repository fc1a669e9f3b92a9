"""`POST /auth/register/device`: a device asks for its secret with that of its product.

The answer is one that an old C SDK can read: status 200 whatever the outcome, `Content-Length` spelled so, compact JSON
of at most `ANSWER_BYTES_MAX`. Source: `device-protocol.md` 1.7 d), `real-clients.md` 2.6.
"""

import logging
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec

from linkstead.alink import registration
from linkstead.alink.registration import Failure, Refused
from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.registry import Registry

log = logging.getLogger(__name__)

REGISTRATION_PATH = "/auth/register/device"
FORM_BYTES_MAX = 4_096
"""Five fields of at most 64 characters, each up to 9 bytes where it is encoded, and room for others."""

ANSWER_BYTES_MAX = 256
"""The buffer of the old C SDK."""


async def answer_registration(registry: Registry, request: HttpRequest) -> HttpReply:
    """Answer one request; nothing is raised."""
    if request.method != "POST":
        reply = HttpReply(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain;charset=utf-8", b"only POST is served here\n")
        reply.headers["Allow"] = "POST"
        return reply
    device = ""
    try:
        wanted = registration.read_form(_parse_form(request.body))
        device = str(wanted.key)
        found = await registration.give_secret(registry, wanted)
    except Refused as refused:
        fields = {"device": device, "peer": request.peer, "code": refused.failure.code}
        log.warning("registration refused: %s", refused.text, extra=fields)
        return _reply({"code": refused.failure.code, "message": refused.text})
    except Exception:
        # The edge of the core: with the store away nobody can be registered, and the server goes on.
        log.exception("a registration could not be checked", extra={"device": device, "peer": request.peer})
        return _reply({"code": Failure.INTERNAL.code, "message": Failure.INTERNAL.text})
    log.info("device was given its secret over HTTP", extra={"device": device, "peer": request.peer})
    return _reply({"code": 200, "data": registration.describe_secret(found), "message": "success"})


def _parse_form(body: bytes) -> dict[str, str]:
    if len(body) > FORM_BYTES_MAX:
        raise Refused(Failure.PARAMETER, f"the form must have at most {FORM_BYTES_MAX} bytes")
    return dict(parse_qsl(body.decode("latin-1")))


def _reply(answer: dict[str, object]) -> HttpReply:
    return HttpReply(HTTPStatus.OK, "application/json;charset=utf-8", msgspec.json.encode(answer))
