"""`make audit`: what it finds in a copy of advisories, and that it calls no package good of which it knows nothing."""

import json
import types
from datetime import UTC, datetime, timedelta
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOW = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
LOCK = (
    "other==1.0 \\\n    --hash=sha256:00\nSome_Package[extra]==2.5.1 ; python_version >= '3' \\\n    --hash=sha256:00\n"
)


@pytest.fixture
def audit() -> types.ModuleType:
    loader = SourceFileLoader("audit", str(ROOT / "tools" / "audit"))
    module = types.ModuleType("audit")
    module.__file__ = loader.path
    exec(loader.get_code("audit") or "", module.__dict__)
    return module


def advisory(*, name: str = "some-package", modified: str = NOW, affected: Any = None, **fields: Any) -> dict[str, Any]:
    package = {"name": name, "ecosystem": "PyPI"}
    return {
        "id": "PYSEC-1-1",
        "modified": modified,
        "affected": [{"package": package, **(affected or {"versions": ["2.5.1"]})}],
        **fields,
    }


def ranging(*events: dict[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


def look_up(audit: types.ModuleType, folder: Path, *advisories: dict[str, Any]) -> int:
    lock = folder / "run.txt"
    lock.write_text(LOCK, encoding="utf-8")
    (folder / "copy").mkdir()
    for number, each in enumerate(advisories):
        (folder / "copy" / f"{number}.json").write_text(json.dumps(each, indent=2), encoding="utf-8")
    return int(audit.look_up(folder / "copy", [lock]))


@pytest.mark.parametrize(
    ("affected", "is_weak"),
    [
        ({"versions": ["2.5.1"]}, True),
        ({"versions": ["2.5"]}, False),
        (ranging({"introduced": "0"}), True),
        (ranging({"introduced": "0"}, {"fixed": "2.5.2"}), True),
        (ranging({"introduced": "0"}, {"fixed": "2.5.1"}), False),
        (ranging({"introduced": "0"}, {"fixed": "2.10"}), True),
        (ranging({"introduced": "2.6"}), False),
        (ranging({"introduced": "0"}, {"last_affected": "2.5.1"}), True),
        (ranging({"introduced": "0"}, {"last_affected": "2.5.0"}), False),
        (ranging({"introduced": "1"}, {"fixed": "2"}, {"introduced": "2.5"}), True),
        (ranging({"introduced": "2.5"}, {"fixed": "3"}, {"introduced": "1"}, {"fixed": "2"}), True),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, False),
    ],
)
def test_a_version_is_weak_where_an_advisory_says_so(
    audit: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], affected: dict[str, Any], is_weak: bool
) -> None:
    assert look_up(audit, tmp_path, advisory(affected=affected)) == is_weak
    said = "some-package 2.5.1: PYSEC-1-1" if is_weak else "no known weakness in 2 packages"
    assert f"run.txt: {said}\n" in capsys.readouterr().out


def test_other_packages_and_what_was_withdrawn_are_no_weakness(audit: types.ModuleType, tmp_path: Path) -> None:
    elsewhere = advisory()
    elsewhere["affected"][0]["package"]["ecosystem"] = "npm"
    withdrawn = advisory(withdrawn=NOW)
    assert look_up(audit, tmp_path, advisory(name="another"), elsewhere, withdrawn) == 0


def test_a_copy_may_be_yaml(audit: types.ModuleType, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir(parents=True)
    (tmp_path / "run.txt").write_text(LOCK, encoding="utf-8")
    package = "name: Some.Package\n    ecosystem: PyPI"
    text = f'id: PYSEC-1-1\naffected:\n- package:\n    {package}\n  versions:\n  - 2.5.1\nmodified: "{NOW}"\n'
    (tmp_path / "copy" / "one.yaml").write_text(text, encoding="utf-8")
    assert audit.look_up(tmp_path / "copy", [tmp_path / "run.txt"]) == 1


def test_an_old_copy_says_what_it_knows_and_that_it_is_old(
    audit: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = (datetime.now(UTC) - timedelta(days=audit.COPY_DAYS_MAX + 1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert look_up(audit, tmp_path, advisory(name="another", modified=old)) == 2
    said = capsys.readouterr()
    assert f"the last of {old[:10]}" in said.out
    assert "NOT AUDITED" in said.err


def test_without_advisories_nothing_is_known(audit: types.ModuleType, tmp_path: Path) -> None:
    assert look_up(audit, tmp_path) == 2


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        ({"dependencies": [{"name": "other", "version": "1.0", "vulns": []}]}, 0),
        ({"dependencies": [{"name": "other", "version": "1.0", "vulns": [{"id": "PYSEC-1-1"}]}]}, 1),
        ({"dependencies": [{"name": "other", "skip_reason": "not found"}]}, 2),
        ({}, 2),
    ],
)
def test_what_was_not_answered_is_not_known(
    audit: types.ModuleType, tmp_path: Path, answer: dict[str, Any], end: int
) -> None:
    asked = tmp_path / "pip-audit"
    asked.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n", encoding="utf-8")
    asked.chmod(0o755)
    assert audit.ask(str(asked), tmp_path / "run.txt") == end


def test_every_lock_is_audited_and_every_package_in_it(audit: types.ModuleType) -> None:
    locks = {path.stem for path in (ROOT / "requirements").glob("*.txt")}
    assert locks == set(audit.LOCKS)
    for name in audit.LOCKS:
        lock = ROOT / "requirements" / f"{name}.txt"
        lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if line[:1].isalnum()]
        assert len(audit.find_packages(lock)) == len(lines) > 0
    for folder in audit.NPM_LOCKS:
        assert (ROOT / folder / "package-lock.json").is_file()
