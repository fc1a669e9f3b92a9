from pathlib import Path

import click
import pytest

from linkstead.cli.csv_file import FAULTS_SHOWN_MAX, ROWS_MAX, Row, check_faults, read_csv

COLUMNS, REQUIRED = ("name", "secret", "note"), ("name",)


def read(tmp_path: Path, data: bytes, rows_max: int = ROWS_MAX) -> list[Row]:
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    return read_csv(path, COLUMNS, REQUIRED, rows_max)


def test_rows_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    rows = read(tmp_path, '\ufeffsecret, name\r\n s1 ,"a, b"\r\n\r\n,灯\n'.encode())
    assert [(row.line, row.cells) for row in rows] == [
        (2, {"name": "a, b", "secret": "s1", "note": ""}),
        (4, {"name": "灯", "secret": "", "note": ""}),
    ]


@pytest.mark.parametrize("data", [b"", b"secret\n", b"name,colour\n", b"name,name\n", b"\n", b"a1,s1\n"])
def test_the_first_line_has_to_name_the_columns(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(
        click.ClickException, match="line 1: the first line names the columns: name at least, of name, "
    ):
        read(tmp_path, data)


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException) as caught:
        read(tmp_path, b"name,secret\na,b,c\n,x\nok,x\nb\n")
    assert caught.value.message.split("\n") == [
        "nothing was written; the file has faults",
        "line 2: 3 cells, the first line has 2",
        "line 3: name is empty",
        "line 5: 1 cells, the first line has 2",
    ]


def test_a_line_is_that_of_the_file_where_a_cell_spans_two(tmp_path: Path) -> None:
    assert [row.line for row in read(tmp_path, b'name\n"a\nb"\nc\n')] == [3, 4]


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"name\n\xff\n", "it is not UTF-8"), (b'name\n"a\n', "unexpected end"), (b'name\n"a"b\n', "expected after")],
)
def test_what_is_no_csv_is_one_line(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(click.ClickException, match=said):
        read(tmp_path, data)


def test_a_file_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=r"gone\.csv: No such file or directory"):
        read_csv(tmp_path / "gone.csv", COLUMNS, REQUIRED)


def test_faults_are_shown_up_to_a_bound() -> None:
    check_faults([])
    faults = [(line, "bad") for line in range(FAULTS_SHOWN_MAX, 0, -1)]
    with pytest.raises(click.ClickException) as caught:
        check_faults(faults)
    assert caught.value.message.split("\n")[1:] == [f"line {line}: bad" for line in range(1, FAULTS_SHOWN_MAX + 1)]
    with pytest.raises(click.ClickException) as caught:
        check_faults([*faults, (99, "bad")])
    assert caught.value.message.endswith("\nand 1 more")


def test_rows_are_read_up_to_their_bound(tmp_path: Path) -> None:
    assert len(read(tmp_path, b"name\na\nb\nc\n", 3)) == 3
    with pytest.raises(click.ClickException, match="line 5: more than 3 rows; cut the file in parts"):
        read(tmp_path, b"name\na\nb\nc\nd\n", 3)
