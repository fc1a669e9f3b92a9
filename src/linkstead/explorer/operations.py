"""Every operation of the vendor's API, served or not, and the chapter it belongs to."""

import csv
import importlib.resources


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of one of this folder's tables, by the names of its columns."""
    text = importlib.resources.files("linkstead.explorer").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


OPERATIONS = {row["action"]: row["chapter"] for row in read_table("operations.csv")}
"""The chapter of each operation, by its name. Source: the vendor's present SDKs; the chapters are ours."""
