"""Reading a history page by page. Source: `cloud-api.md` 9.6."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from linkstead.errors import ApiError, codes
from linkstead.telemetry import Span

PAGE_SIZE_MAX = 50
TIME_MS_MAX = 10**15 - 1

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a request asks of a history. `start_ms` is never after `end_ms`."""

    start_ms: int
    end_ms: int
    ascending: bool
    page_size: int

    @property
    def span(self) -> Span:
        """What to read: one more than the page, which tells whether there is another."""
        return Span(self.start_ms, self.end_ms, self.ascending, self.page_size + 1)


def check_stretch(
    start_time: int, end_time: int, asc: int, page_size: int, page_size_max: int = PAGE_SIZE_MAX
) -> Stretch:
    """Check what stands in a request.

    The earlier of the two times is the start, whatever its name: the older reference wants StartTime to be the later
    one where Asc is 0, the newer one never.

    Raises:
        ApiError(INVALID_TIME_BUCKET): a time is negative, or no time in milliseconds.
        ApiError(INVALID_FORMATTED_PARAMETER): Asc is neither 0 nor 1.
        ApiError(INVALID_PAGE_PARAMS): PageSize is out of its range.
    """
    for time_ms in (start_time, end_time):
        if not 0 <= time_ms <= TIME_MS_MAX:
            raise ApiError(
                codes.INVALID_TIME_BUCKET, StartTime=start_time, EndTime=end_time, rule=f"0..{TIME_MS_MAX} ms"
            )
    if asc not in (0, 1):
        raise ApiError(codes.INVALID_FORMATTED_PARAMETER, Asc=asc, rule="0 | 1")
    if not 1 <= page_size <= page_size_max:
        raise ApiError(codes.INVALID_PAGE_PARAMS, PageSize=page_size, rule=f"1..{page_size_max}")
    return Stretch(min(start_time, end_time), max(start_time, end_time), asc == 1, page_size)


@dataclass(frozen=True, slots=True)
class Pages(Generic[Record]):
    """One page of each of several histories. `next_time` is where the next page begins, in the order of reading.

    The caller sends it as StartTime or as EndTime, the other bound staying as it was. Where `next_valid` is False it is
    the far end of the stretch.
    """

    pages: list[list[Record]]
    next_valid: bool
    next_time: int


def cut_pages(
    histories: Sequence[Sequence[Record]], stretch: Stretch, time_of: Callable[[Record], int]
) -> Pages[Record]:
    """Cut what was read with `stretch.span` so that the next page begins at one moment for all of them.

    A moment is not split between two pages: nothing comes twice, and nothing is lost unless more records than a page
    holds are of the same millisecond.
    """
    size, ascending = stretch.page_size, stretch.ascending
    moments = [time_of(history[size]) for history in histories if len(history) > size]
    if not moments:
        far_end = stretch.end_ms if ascending else stretch.start_ms
        return Pages([list(history) for history in histories], False, far_end)
    moment = min(moments) if ascending else max(moments)
    pages = [
        [record for record in history[:size] if time_of(record) != moment and (time_of(record) < moment) == ascending]
        for history in histories
    ]
    if any(pages):
        return Pages(pages, True, moment)
    pages = [[record for record in history[:size] if time_of(record) == moment] for history in histories]
    next_time = moment + 1 if ascending else moment - 1
    return Pages(pages, stretch.start_ms <= next_time <= stretch.end_ms, next_time)
