"""Pages of a listing: `CurrentPage` counts from 1. Source: `cloud-api.md` 9.1, row Paging."""

import base64
import binascii

from linkstead.errors import ApiError, codes

CURRENT_PAGE_MAX = 2_147_483_647
"""The vendor's Integer. It also keeps every offset inside what a database counts with."""

PAGED_RECORDS_MAX = 10_000
"""How far page numbers reach: the time of a page grows with what comes before it.

Source: `cloud-api.md` 9.3: from there on QueryDevice demands a NextToken.
"""

NEXT_TOKEN_CHARS_MAX = 128


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


def check_depth(current_page: int, page_size: int) -> None:
    """Raises ApiError(INVALID_PAGE_PARAMS) for a page that ends past `PAGED_RECORDS_MAX`."""
    if current_page * page_size > PAGED_RECORDS_MAX:
        rule = f"CurrentPage * PageSize <= {PAGED_RECORDS_MAX}"
        raise ApiError(codes.INVALID_PAGE_PARAMS, CurrentPage=current_page, PageSize=page_size, rule=rule)


def encode_next_token(listing: str, before_id: int) -> str:
    """What an app sends to get the page that begins at a place of a listing; `listing` says of which, such as a key."""
    return base64.urlsafe_b64encode(f"{before_id}.{listing}".encode()).decode()


def decode_next_token(listing: str, token: str) -> int:
    """The place that a token of this listing holds.

    Raises:
        ApiError(INVALID_PAGE_PARAMS): it is none of ours, or of another listing.
    """
    try:
        text = base64.b64decode(token[:NEXT_TOKEN_CHARS_MAX].encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        text = ""
    number, _, of_listing = text.partition(".")
    if of_listing != listing or not (number.isascii() and number.isdigit() and len(number) < 20):
        raise ApiError(codes.INVALID_PAGE_PARAMS, NextToken=token, rule="of the page before")
    return min(int(number), 2**63 - 1)


def page_count(total: int, page_size: int) -> int:
    """How many pages hold `total` records."""
    return -(-total // page_size)
