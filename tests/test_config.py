import pytest

from linkstead.config import Address, Settings, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8686", Address("127.0.0.1", 8686)),
        ("localhost:0", Address("localhost", 0)),
        ("0.0.0.0:65535", Address("0.0.0.0", 65_535)),
        ("[::1]:1883", Address("::1", 1883)),
        ("::1:1883", Address("::1", 1883)),
        ("iot.example:00080", Address("iot.example", 80)),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "localhost",
        ":80",
        "localhost:",
        "localhost:http",
        "localhost:65536",
        "localhost:-1",
        "localhost:+1",
        "localhost:8 0",
        "localhost:²",
        f"localhost:{'9' * 5_000}",
        "[]:80",
        "[::1:80",
        "::1]:80",
        "http://localhost:80/",
    ],
)
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT with a port from 0 to 65535"):
        parse_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1:8686", "[::1]:1883"])
def test_an_address_is_shown_as_it_is_read(text: str) -> None:
    assert str(parse_address(text)) == text


def test_settings_show_no_secret() -> None:
    settings = Settings(access_key_id="app-key", access_key_secret="a very secret one")
    assert "secret" not in repr(settings)
    assert repr(settings) == "Settings(http=127.0.0.1:8686, mqtt=127.0.0.1:1883, data='linkstead-data')"


def test_what_is_not_set_is_what_a_production_server_wants() -> None:
    settings = Settings()
    assert (settings.http, settings.mqtt) == (Address("127.0.0.1", 8686), Address("127.0.0.1", 1883))
    assert (settings.https, settings.mqtts, settings.quotas_enabled) == (None, None, True)
    assert not settings.dynamic_registration
