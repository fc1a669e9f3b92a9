"""Pages of a listing: `CurrentPage` counts from 1. Source: `cloud-api.md` 9.1, row Paging."""

from linkstead.errors import ApiError, codes

CURRENT_PAGE_MAX = 2_147_483_647
"""The vendor's Integer. It also keeps every offset inside what a database counts with."""


def page_offset(current_page: int, page_size: int, page_size_max: int) -> int:
    """How many records come before this page.

    Raises:
        ApiError(INVALID_PAGE_PARAMS): the page is not 1 to `CURRENT_PAGE_MAX`, its size not 1 to `page_size_max`.
    """
    if not 1 <= current_page <= CURRENT_PAGE_MAX:
        raise ApiError(codes.INVALID_PAGE_PARAMS, CurrentPage=current_page, rule=f"1..{CURRENT_PAGE_MAX}")
    if not 1 <= page_size <= page_size_max:
        raise ApiError(codes.INVALID_PAGE_PARAMS, PageSize=page_size, rule=f"1..{page_size_max}")
    return (current_page - 1) * page_size


def page_count(total: int, page_size: int) -> int:
    """How many pages hold `total` records."""
    return -(-total // page_size)
