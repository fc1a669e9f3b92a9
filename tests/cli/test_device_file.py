import csv
import io
import stat
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from linkstead.cli import device_file
from linkstead.cli.csv_file import FAULTS_KEPT_MAX
from tests.cli.processes import done, invoke, told

KEY = "a1Lamp00001"


@pytest.fixture(autouse=True)
def product() -> None:
    done("product", "create", "Lamp", "--product-key", KEY)


def write(*rows: str, heading: str = "product_key,device_name,device_secret,nickname") -> None:
    Path("devices.csv").write_text("".join(f"{row}\n" for row in (heading, *rows)), encoding="utf-8")


def exported() -> list[dict[str, Any]]:
    done("device", "export", "--product", KEY, "out.csv")
    return list(csv.DictReader(io.StringIO(Path("out.csv").read_text(encoding="utf-8"))))


def import_file() -> tuple[int, list[str]]:
    result = invoke("device", "import", "devices.csv")
    assert result.stdout == ""
    return result.exit_code, result.stderr.splitlines()


def test_what_is_exported_is_imported_with_its_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(f'{KEY},lamp-01,"a,""b""",灯_01', f"{KEY},lamp-02,,")
    assert import_file() == (0, ["2 devices made, 0 were there already"])
    rows = exported()
    assert [(row["product_key"], row["device_name"], row["nickname"]) for row in rows] == [
        (KEY, "lamp-02", ""),
        (KEY, "lamp-01", "灯_01"),
    ]
    assert (len(rows[0]["device_secret"]), rows[1]["device_secret"]) == (32, 'a,"b"')
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    done("product", "create", "Lamp", "--product-key", KEY)
    assert invoke("device", "import", "../out.csv").stderr == "2 devices made, 0 were there already\n"
    assert sorted(exported(), key=str) == sorted(rows, key=str)


def test_a_second_run_passes_over_what_is_there() -> None:
    write(f"{KEY},lamp-01,secret-1,", f"{KEY},lamp-02,,")
    assert import_file() == (0, ["2 devices made, 0 were there already"])
    before = exported()
    write(f"{KEY},lamp-01,secret-1,", f"{KEY},lamp-02,,", f"{KEY},lamp-03,secret-3,")
    assert import_file() == (0, ["1 devices made, 2 were there already"])
    assert exported()[1:] == before
    assert import_file() == (0, ["0 devices made, 3 were there already"])


def test_a_run_that_broke_off_is_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_file, "BATCH_ROWS", 2)
    write(*(f"{KEY},lamp-0{number},secret-{number}," for number in range(5)))
    write_part = device_file._write
    parts: list[object] = []

    async def break_off(*args: Any) -> int:
        if len(parts) == 2:
            raise KeyboardInterrupt
        parts.append(args)
        return await write_part(*args)

    with monkeypatch.context() as patch:
        patch.setattr(device_file, "_write", break_off)
        assert invoke("device", "import", "devices.csv").exit_code == 130
    assert len(exported()) == 4
    assert import_file() == (0, ["1 devices made, 4 were there already"])
    assert [row["device_secret"] for row in exported()] == [f"secret-{number}" for number in (4, 3, 2, 1, 0)]


def test_progress_is_told_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_file, "PROGRESS_ROWS", 2)
    monkeypatch.setattr(device_file, "BATCH_ROWS", 2)
    write(*(f"{KEY},lamp-0{number},," for number in range(5)))
    assert import_file() == (
        0,
        [
            "checked: 2",
            "checked: 4",
            "imported: 2",
            "imported: 4",
            "5 devices made, 0 were there already",
        ],
    )
    result = invoke("device", "export", "--product", KEY, "out.csv")
    assert result.stderr.splitlines() == ["written: 2", "written: 4", "5 devices written to out.csv"]


def test_faults_are_told_by_line_and_nothing_is_written() -> None:
    write(f"{KEY},lamp-09,secret-9,")
    import_file()
    write(
        f"{KEY},lamp-01,s,",
        f"{KEY},x,s,",
        "gone,lamp-02,s,",
        f"{KEY},lamp-01,s,",
        f"{KEY},lamp-09,another,",
        f"{KEY},lamp-03,a secret,",
        f"{KEY},lamp-04,s,x",
        f"{KEY},,s,",
        f"{KEY},lamp-05",
    )
    status, lines = import_file()
    assert (status, lines[0]) == (1, "linkstead: nothing was written; the file has faults")
    starts = [
        "line 3: DeviceName breaks the naming rule",
        "line 4: there is no product gone",
        f"line 5: {KEY}/lamp-01 stands in line 2 already",
        f"line 6: {KEY}/lamp-09 is there already with another secret",
        "line 7: ",
        "line 8: ",
        "line 9: device_name is empty",
        "line 10: 2 cells, the first line has 4",
    ]
    assert len(lines) == 1 + len(starts)
    assert all(line.startswith(start) for line, start in zip(lines[1:], starts, strict=True))
    assert not any("a secret" in line or "another " in line.partition("with")[0] for line in lines)
    assert [row["device_name"] for row in exported()] == ["lamp-09"]


def test_a_file_with_too_many_faults_is_not_read_to_its_end() -> None:
    write(*["gone,lamp-01,s,"] * (FAULTS_KEPT_MAX + 10))
    status, lines = import_file()
    assert (status, lines[-1]) == (1, f"and {FAULTS_KEPT_MAX + 1 - 20} more")


def test_the_export_is_for_its_owner_alone_and_replaces_the_one_before() -> None:
    write(f"{KEY},lamp-01,secret-1,")
    import_file()
    Path("out.csv").write_text("old")
    Path("out.csv").chmod(0o644)
    assert len(exported()) == 1
    assert stat.S_IMODE(Path("out.csv").stat().st_mode) == device_file.FILE_MODE
    assert not Path("out.csv.new").exists()


def test_what_cannot_be_exported_leaves_the_old_file() -> None:
    Path("out.csv").write_text("old")
    assert "there is no product gone" in told(1, "device", "export", "--product", "gone", "out.csv")
    assert Path("out.csv").read_text() == "old"
    assert not Path("out.csv.new").exists()
    assert "No such file or directory" in told(1, "device", "export", "--product", KEY, "nowhere/out.csv")


def test_a_product_without_devices_is_a_heading() -> None:
    assert exported() == []
    assert Path("out.csv").read_text() == "product_key,device_name,device_secret,nickname\n"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_hundred_thousand_devices_are_imported_and_exported() -> None:
    count = 100_000
    write(*(f"{KEY},lamp-{number:06},secret-{number}," for number in range(count)))
    taken_s = []
    peaks_mb = []
    for said in (f"{count} devices made, 0 were there already", f"0 devices made, {count} were there already"):
        started_s = time.perf_counter()
        tracemalloc.start()
        status, lines = import_file()
        peaks_mb.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
        taken_s.append(time.perf_counter() - started_s)
        assert (status, lines[-1]) == (0, said)
    rows = exported()
    assert [row["device_secret"] for row in rows] == [f"secret-{number}" for number in reversed(range(count))]
    print(f"first {taken_s[0]:.0f} s, second {taken_s[1]:.0f} s; at most {max(peaks_mb):.0f} MB")  # noqa: T201
