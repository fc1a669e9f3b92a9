"""The child process: runs one script after the other, each in a context of its own, until its standard input ends.

It is told nothing but scripts and messages. The engine gives a script no file, no network and no timer, and bounds its
time and memory; what gets past those bounds is stopped by the kernel, which ends the process.

Run by `python -m linkstead.scripts.engine`.
"""

import os
import re
import signal
import sys
from typing import Any

import quickjs

from linkstead.scripts.frames import OK, READY, encode_frames, read_frame

if sys.platform != "win32":
    import resource

RUN_TIME_MS_MAX = 500
"""Processor time of a script, after which the engine interrupts it."""

PROCESS_TIME_MS_MAX = 1_000
"""Processor time of one message, after which the kernel ends the process: the engine counts loops of the script, and
one turn of a loop may take long in the engine itself.
"""

SCRIPT_MEMORY_BYTES_MAX = 32 * 1024 * 1024
SCRIPT_STACK_BYTES_MAX = 256 * 1024
PROCESS_MEMORY_BYTES_MAX = 512 * 1024 * 1024
"""Address space, the interpreter's own included."""

RESULT_BYTES_MAX = 1_536 * 1024
"""Of a result as JSON: the list of 256 KB of bytes has less."""

ERROR_CHARS_MAX = 300
DESCRIPTORS_MAX = 65_536

SCRIPT_FAILED = b"26002"
FUNCTION_MISSING = b"26006"
WRONG_TYPE = b"26007"

# Taken before the script can put anything in their place.
_CALL = "(function (parse) { return function (f, list) { return f.apply(undefined, parse(list)); }; })(JSON.parse)"
_WRITE = (
    "(function (write, isView, list) { return function (v) { return write(isView(v) ? list(v) : v); }; })"
    "(JSON.stringify, ArrayBuffer.isView, Array.from)"
)
_PLACE = re.compile(r"<input>:([0-9]+)")
# What the engine raises for a script's faults: its own errors, texts that are no Unicode, values that do not fit.
_FAULTS = (quickjs.JSException, ValueError, TypeError, OverflowError, MemoryError)


def run(script: str, function: str, arguments: str) -> tuple[bytes, str]:
    """Call a function of a script.

    Args:
        script: its source, ECMAScript.
        function: the name of a function at its top level.
        arguments: a JSON list.

    Returns:
        OK and what the function returned as JSON, empty for what has no JSON; or a number and what went wrong.
    """
    context = quickjs.Context()
    context.set_memory_limit(SCRIPT_MEMORY_BYTES_MAX)
    context.set_max_stack_size(SCRIPT_STACK_BYTES_MAX)
    context.set_time_limit(RUN_TIME_MS_MAX / 1000)
    call, write = context.eval(_CALL), context.eval(_WRITE)
    try:
        # The value of the script's last statement is of no interest, however large.
        context.eval(f"{script}\n;0")
        if context.eval(f"typeof {function}") != "function":
            return FUNCTION_MISSING, f"the script has no function {function}"
        value = call(context.eval(function), arguments)
    except _FAULTS as fault:
        return SCRIPT_FAILED, describe_fault(fault)
    try:
        result: Any = write(value)
    except _FAULTS as fault:
        return WRONG_TYPE, f"what {function} returned cannot be written as JSON: {describe_fault(fault)}"
    if result is None:
        return OK, ""
    if len(result) > RESULT_BYTES_MAX or len(result.encode(errors="replace")) > RESULT_BYTES_MAX:
        return WRONG_TYPE, f"what {function} returned is over {RESULT_BYTES_MAX} B as JSON"
    return OK, str(result)


def describe_fault(fault: Exception) -> str:
    """What a script raised and the line where, in one line of text."""
    lines = str(fault).splitlines() or [""]
    what = lines[0].strip()
    if what == "InternalError: interrupted":
        what = f"the script ran longer than {RUN_TIME_MS_MAX} ms"
    elif isinstance(fault, MemoryError) or what in ("InternalError: out of memory", ""):
        what = f"the script took more than {SCRIPT_MEMORY_BYTES_MAX} B of memory"
    elif not isinstance(fault, quickjs.JSException):
        what = "a text of the script is no Unicode, or a number does not fit"
    place = next((found for line in lines[1:] if (found := _PLACE.search(line))), None)
    return what[:ERROR_CHARS_MAX] + (f" (line {place.group(1)})" if place else "")


def limit_process() -> None:
    """Bound what the process may take, let it write no file, and close what it should not have been given."""
    # An event loop may hand on descriptors that somebody left inheritable.
    os.closerange(3, DESCRIPTORS_MAX)
    if sys.platform != "win32":
        for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(kind, (0, 0))
    if sys.platform == "linux":
        # Elsewhere the address space cannot be bounded reliably; the engine's own limit holds.
        resource.setrlimit(resource.RLIMIT_AS, (PROCESS_MEMORY_BYTES_MAX, PROCESS_MEMORY_BYTES_MAX))


def limit_time(time_s: float) -> None:
    """End the process when it has used so much processor time from now on; 0 takes the limit back."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, time_s)


def main() -> None:
    """Serve until standard input ends."""
    limit_process()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(encode_frames(READY, b""))
    answers.flush()
    while True:
        script, function, arguments = read_frame(requests), read_frame(requests), read_frame(requests)
        if script is None or function is None or arguments is None:
            return
        limit_time(PROCESS_TIME_MS_MAX / 1000)
        code, text = run(script.decode(errors="replace"), function.decode(), arguments.decode())
        limit_time(0)
        answers.write(encode_frames(code, text.encode(errors="replace")))
        answers.flush()


if __name__ == "__main__":
    main()
