"""`python -m tests.fuzz`: a million mutated inputs for each parser, with progress; ends with 1 at the first fault."""

import argparse
import sys
import time

from tests.fuzz.parsers import PARSERS
from tests.fuzz.running import Fault, run

COUNT = 1_000_000


def tell(text: str) -> None:
    """Print a line at once, also into a file."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Fuzz, and print a table."""
    names = [parser.name for parser in PARSERS]
    arguments = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    arguments.add_argument("parsers", nargs="*", metavar="PARSER", help=f"all, or some of: {', '.join(names)}")
    arguments.add_argument("--inputs", type=int, default=COUNT, help="for each; 1,000,000")
    arguments.add_argument("--number", type=int, default=None, help="what chance follows from; the time unless given")
    given = arguments.parse_args()
    if unknown := set(given.parsers) - set(names):
        arguments.error(f"there is no parser {min(unknown)}; there are: {', '.join(names)}")
    number = given.number if given.number is not None else int(time.time())
    tell(f"inputs for each parser: {given.inputs:,}; --number {number}")
    for parser in PARSERS:
        if given.parsers and parser.name not in given.parsers:
            continue
        try:
            outcome = run(parser, given.inputs, number, tell)
        except Fault as fault:
            tell(str(fault))
            return 1
        rate, growth = f"{outcome.rate:,.0f} a second", f"memory {outcome.growth_bytes:+,} bytes"
        tell(f"{parser.name}: {outcome.count:,} inputs without a fault, {rate}, {growth}")
    return 0


sys.exit(main())
