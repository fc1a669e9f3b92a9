"""Runs a parser on many inputs, and holds against it: what is raised, how long one takes, and what stays in memory."""

import gc
import logging
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.fuzz.mutation import Mutator
from tests.fuzz.parsers import Parser, read_corpus

INPUT_S_MAX = 2.0
"""For one input, of time on the processor; good ones take a thousandth of it."""

GROWTH_BYTES_MAX = 16 * 1024 * 1024
"""From a tenth of the inputs on to the end."""

TOLD_EVERY_S = 10.0


class Hang(Exception):
    """An input takes longer than INPUT_S_MAX."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    count: int
    rate: float
    growth_bytes: int


class Fault(Exception):
    """An input that a parser does not stand; the text has it in hexadecimal, for the corpus."""


def resident_bytes() -> int:
    """What the process has in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4_096


@contextmanager
def _bounded() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, interrupt)
    # Logs say what a peer did wrong, a million times: not to anybody here.
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def run(parser: Parser, count: int, number: int, tell: Callable[[str], None] | None = None) -> Outcome:
    """Give a parser its seeds and `count` mutated inputs.

    Args:
        number: what chance follows from.
        tell: told now and then how far it is.

    Raises:
        Fault: it raised, or an input took too long, or memory grew.
    """
    seeds = read_corpus(parser.name)
    mutator = Mutator(seeds, number)
    began_s = told_s = time.monotonic()
    early_bytes = 0
    with _bounded():
        for seed in seeds:
            _feed(parser, seed)
        for done in range(1, count + 1):
            _feed(parser, mutator.draw())
            if done == max(count // 10, 1):
                early_bytes = resident_bytes()
            if tell is not None and not done % 256 and time.monotonic() - told_s >= TOLD_EVERY_S:
                told_s = time.monotonic()
                rate = done / (told_s - began_s)
                tell(f"{parser.name}: {done:,} of {count:,} inputs, {rate:,.0f} a second")
    took_s = time.monotonic() - began_s
    growth_bytes = resident_bytes() - early_bytes
    if growth_bytes > GROWTH_BYTES_MAX:
        raise Fault(f"{parser.name}: memory grew by {growth_bytes:,} bytes")
    return Outcome(count, count / took_s, growth_bytes)


def _feed(parser: Parser, data: bytes) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, INPUT_S_MAX)
    try:
        parser.take(data)
    except Hang:
        raise Fault(f"{parser.name} takes longer than {INPUT_S_MAX} s for {data.hex()}") from None
    except Exception as error:
        said = "".join(traceback.format_exception(error))
        raise Fault(f"{parser.name} raises {error!r} for {data.hex()}\n{said}") from error
