import mmap

import pytest

from tests.fuzz import running
from tests.fuzz.mutation import INPUT_BYTES_MAX, Mutator
from tests.fuzz.parsers import CORPUS, PARSERS, Parser, read_corpus
from tests.fuzz.running import Fault, run

NAMES = {parser.name: parser for parser in PARSERS}


@pytest.mark.parametrize("name", NAMES)
def test_mutated_inputs_do_no_harm(name: str) -> None:
    assert run(NAMES[name], 300 if name == "script" else 1_500, number=1).count >= 300


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", NAMES)
def test_many_mutated_inputs_do_no_harm(name: str) -> None:
    run(NAMES[name], 100_000, number=2)


def test_every_parser_has_its_corpus_and_it_is_small() -> None:
    assert {path.stem for path in CORPUS.iterdir()} == set(NAMES)
    assert sum(len(seed) for name in NAMES for seed in read_corpus(name)) < 128 * 1024


def test_the_same_number_gives_the_same_inputs() -> None:
    seeds = read_corpus("mqtt")
    first, again, other = (Mutator(seeds, number) for number in (7, 7, 8))
    drawn = [first.draw() for _ in range(100)]
    assert drawn == [again.draw() for _ in range(100)]
    assert drawn != [other.draw() for _ in range(100)]
    assert len(set(drawn)) > 90
    assert max(map(len, drawn)) <= INPUT_BYTES_MAX


def test_what_is_raised_is_a_fault_with_its_input() -> None:
    def take(data: bytes) -> None:
        if b"%00" in data:
            raise KeyError("planted")

    with pytest.raises(Fault, match=r"literal raises KeyError\('planted'\) for [0-9a-f]*253030"):
        run(Parser("literal", take), 10_000, number=1)


def test_an_input_that_takes_too_long_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "INPUT_S_MAX", 0.05)

    def take(_: bytes) -> None:
        while True:
            pass

    with pytest.raises(Fault, match=r"takes longer than 0\.05 s for "):
        run(Parser("literal", take), 1, number=1)


def test_memory_that_grows_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "GROWTH_BYTES_MAX", 1024 * 1024)
    kept: list[mmap.mmap] = []

    def take(_: bytes) -> None:
        # Pages of its own: what earlier tests gave back could hold anything else.
        pages = mmap.mmap(-1, 65_536)
        pages.write(b"x" * 65_536)
        kept.append(pages)

    with pytest.raises(Fault, match="memory grew by"):
        run(Parser("literal", take), 1_000, number=1)
