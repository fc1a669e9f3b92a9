import pytest

from linkstead.errors import ApiError, codes
from linkstead.registry import paging


@pytest.mark.parametrize(
    ("current_page", "page_size", "offset"),
    [(1, 1, 0), (1, 50, 0), (2, 50, 50), (3, 7, 14), (paging.CURRENT_PAGE_MAX, 50, (paging.CURRENT_PAGE_MAX - 1) * 50)],
)
def test_pages_count_from_one(current_page: int, page_size: int, offset: int) -> None:
    assert paging.page_offset(current_page, page_size, 50) == offset


@pytest.mark.parametrize(
    ("current_page", "page_size", "said"),
    [
        (0, 10, "CurrentPage=0; 1..2147483647"),
        (-1, 10, "CurrentPage=-1; 1..2147483647"),
        (paging.CURRENT_PAGE_MAX + 1, 10, "CurrentPage=2147483648; 1..2147483647"),
        (1, 0, "PageSize=0; 1..50"),
        (1, -5, "PageSize=-5; 1..50"),
        (1, 51, "PageSize=51; 1..50"),
    ],
)
def test_a_page_out_of_range_is_refused(current_page: int, page_size: int, said: str) -> None:
    with pytest.raises(ApiError) as caught:
        paging.page_offset(current_page, page_size, 50)
    assert caught.value.row is codes.INVALID_PAGE_PARAMS
    assert said in caught.value.message("en")


@pytest.mark.parametrize(("total", "page_size", "count"), [(0, 10, 0), (1, 10, 1), (10, 10, 1), (11, 10, 2), (3, 1, 3)])
def test_the_last_page_may_be_part_full(total: int, page_size: int, count: int) -> None:
    assert paging.page_count(total, page_size) == count


@pytest.mark.parametrize(("current_page", "page_size"), [(1, 1), (200, 50), (10_000, 1)])
def test_pages_reach_so_far(current_page: int, page_size: int) -> None:
    paging.check_depth(current_page, page_size)
    with pytest.raises(ApiError, match=codes.INVALID_PAGE_PARAMS.code):
        paging.check_depth(current_page + paging.PAGED_RECORDS_MAX // page_size, page_size)


@pytest.mark.parametrize("before_id", [1, 2**63 - 1])
def test_a_next_token_is_read_back(before_id: int) -> None:
    token = paging.encode_next_token("a1Lnk5tEad0", before_id)
    assert paging.decode_next_token("a1Lnk5tEad0", token) == before_id
    assert len(paging.encode_next_token("k" * 20, 2**63 - 1)) <= paging.NEXT_TOKEN_CHARS_MAX


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "灯",
        "====",
        "MS5hMUxuazV0RWFkMA",
        "MS5hMUxuazV0RWFkMQ==",
        paging.encode_next_token("a1Lnk5tEad1", 1),
        paging.encode_next_token("a1Lnk5tEad0", -1),
        paging.encode_next_token("a1Lnk5tEad0", 10**19),
        paging.encode_next_token("a1Lnk5tEad0", 1) + "A" * paging.NEXT_TOKEN_CHARS_MAX,
    ],
)
def test_what_is_no_token_of_the_listing_is_refused(token: str) -> None:
    with pytest.raises(ApiError) as caught:
        paging.decode_next_token("a1Lnk5tEad0", token)
    assert caught.value.row is codes.INVALID_PAGE_PARAMS
