"""Text from elsewhere, made fit for a terminal or a log."""


def escape_text(text: str) -> str:
    """The text with all that is not printable written as an escape: it cannot break a line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def show_bytes(data: bytes) -> str:
    """Bytes as text when they are UTF-8 that a terminal can show, else `hex:` and their hex."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"hex:{data.hex()}"
    return text if all(char.isprintable() or char in "\n\t" for char in text) else f"hex:{data.hex()}"
