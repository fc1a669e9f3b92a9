from pathlib import Path

from bench.profile import ELSEWHERE, WAITING, read_samples, room_of, write_page
from linkstead.store.sqlite import _Thread

RAW = """\
Thread 1 (main);serve (/a/src/linkstead/cli/serving.py:3);step (/a/src/linkstead/eager.py:1);dump (json/x.py:9) 3
Thread 2 (linkstead-store-write_0);write (/a/src/linkstead/eager.py:2) 1
Thread 1 (main);run (asyncio/runners.py:12) 4
Thread 3 (pool);_worker (concurrent/futures/thread.py:81) 9
Thread 4 (linkstead-store-write);run (threading.py:975);_Thread._work_off (/a/src/linkstead/store/sqlite.py:1) 9
Thread 4 (linkstead-store-read);run (threading.py:975);_work_off (/a/src/linkstead/store/sqlite.py:1) 9
"""


def test_samples_are_told_by_room_function_and_line(tmp_path: Path) -> None:
    package = tmp_path / "src" / "linkstead"
    package.mkdir(parents=True)
    (package / "eager.py").write_text("awaited = coroutine.send(None)\nreturn a | b\n")
    samples = list(read_samples(RAW))
    assert [(room_of(sample), sample.times) for sample in samples] == [("eager.py", 3), ("eager.py", 1), (ELSEWHERE, 4)]
    page = list(write_page(samples, tmp_path, "a machine"))
    assert "| eager.py | 37.5 |" in page
    assert "| eager.py (writing to the database) | 12.5 |" in page
    assert "| `step`, eager.py | 37.5 |" in page
    assert "| eager.py:1 `awaited = coroutine.send(None)` | 37.5 |" in page
    assert "| eager.py:2 `return a \\| b` | 12.5 |" in page
    assert not any("serving.py" in line for line in page)


def test_a_thread_that_waits_is_named_as_the_store_names_it() -> None:
    assert _Thread._work_off.__qualname__ in WAITING
    assert {"_worker", _Thread._work_off.__name__} <= WAITING
