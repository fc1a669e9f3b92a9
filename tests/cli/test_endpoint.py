import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click
import pytest

from linkstead.cli.endpoint import Endpoint, parse_endpoint
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds
from tests.cli.processes import ServerProcess, serving, told
from tests.rig import Certificate


def endpoint(url: str, access_key_id: str = "linkstead-dev", secret: str = "linkstead-dev-secret") -> Endpoint:
    clock = SystemClock()
    return Endpoint(url, access_key_id, secret, None, clock, SystemIds(clock))


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://127.0.0.1:8686", ("http", "127.0.0.1", 8686)),
        ("http://127.0.0.1:8686/", ("http", "127.0.0.1", 8686)),
        ("https://iot.example.com", ("https", "iot.example.com", 443)),
        ("http://iot.example.com", ("http", "iot.example.com", 80)),
        ("http://[::1]:1", ("http", "::1", 1)),
    ],
)
def test_an_endpoint_is_read(url: str, parts: tuple[str, str, int]) -> None:
    assert parse_endpoint(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8686",
        "ftp://h:1",
        "http://",
        "http://h:x",
        "http://h:99999",
        "http://h/path",
        "http://h?q",
        "http://u:p@h",
    ],
)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(click.UsageError, match="--endpoint takes http://HOST:PORT or https://HOST:PORT"):
        parse_endpoint(url)


def test_an_action_is_called_and_answers_whether_it_failed_or_not(dev: ServerProcess) -> None:
    answer = endpoint(dev.endpoint).invoke("QueryProduct", {"ProductKey": "a1LinkDemo0"})
    assert answer["Data"]["ProductName"] == "Demo-lamp"
    assert endpoint(dev.endpoint).invoke("QueryProduct", {"ProductKey": "gone"})["Success"] is False


def test_a_wrong_secret_is_told_without_it(dev: ServerProcess) -> None:
    with pytest.raises(click.ClickException) as caught:
        endpoint(dev.endpoint, secret="my-own-secret").invoke("QueryProduct", {"ProductKey": "a1LinkDemo0"})
    assert caught.value.message == "SignatureDoesNotMatch: the secret is not that of the access key linkstead-dev"
    with pytest.raises(click.ClickException, match="SignatureDoesNotMatch: the secret is not that"):
        endpoint(dev.endpoint, secret="my-own-secret").inspect("calls")


def test_what_the_gateway_refuses_is_told_with_its_code(dev: ServerProcess) -> None:
    with pytest.raises(click.ClickException, match=r"InvalidAccessKeyId\.NotFound: "):
        endpoint(dev.endpoint, access_key_id="nobody").invoke("QueryProduct", {})
    with pytest.raises(click.ClickException, match="MissingProductKey: "):
        endpoint(dev.endpoint).invoke("QueryProduct", {})
    with pytest.raises(click.ClickException, match="no call 1"):
        endpoint(dev.endpoint).inspect("calls/1")


def test_nobody_there_is_told_in_one_line() -> None:
    line = told(1, "calls", "--endpoint", "http://127.0.0.1:1")
    assert line == (
        "linkstead: no answer from http://127.0.0.1:1: Connection refused; is the server running there? (--endpoint)\n"
    )


@contextmanager
def stranger(status: int, body: bytes) -> Iterator[str]:
    """A web server that is not Linkstead."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>", "answers, but not as Linkstead does (HTTP 200)"),
        (200, b"[]", "answers, but not as Linkstead does (HTTP 200)"),
        (404, b"\xff", "answers, but not as Linkstead does (HTTP 404)"),
        (500, b"{}", "the request was refused with HTTP 500"),
    ],
)
def test_a_stranger_is_recognised(status: int, body: bytes, said: str) -> None:
    with stranger(status, body) as url:
        assert said in told(1, "calls", "--endpoint", url)


def test_https_takes_certificates_to_trust(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> None:
    tls = ("--https", "127.0.0.1:0", "--tls-cert", certificate.certificate, "--tls-key", certificate.key)
    with serving("dev", *tls, folder=tmp_path_factory.mktemp("https")) as server:
        url = f"https://{server.ready['https']}"
        clock = SystemClock()
        trusting = Endpoint(
            url, "linkstead-dev", "linkstead-dev-secret", str(certificate.certificate), clock, SystemIds(clock)
        )
        assert trusting.inspect("calls") == {"calls": []}
        with pytest.raises(click.ClickException, match="certificate verify failed"):
            endpoint(url).inspect("calls")


def test_a_file_of_certificates_has_to_be_there() -> None:
    assert "--ca gone.pem: No such file" in told(2, "calls", "--endpoint", "https://127.0.0.1:1", "--ca", "gone.pem")
