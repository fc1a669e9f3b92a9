import tracemalloc
from uuid import UUID

import pytest

from linkstead.api.nonces import GENERATIONS, NONCE_SPAN_S, NONCES_MAX, NonceWindow

NONCE_BYTES_MAX = 128


@pytest.mark.parametrize(
    "later_s", [0, 1, NONCE_SPAN_S / GENERATIONS, NONCE_SPAN_S / 2, NONCE_SPAN_S - 1, NONCE_SPAN_S]
)
def test_nonce_is_refused_within_the_span(later_s: float) -> None:
    window = NonceWindow()
    assert window.use("ak", "nonce", 1_000.0)
    assert not window.use("ak", "nonce", 1_000.0 + later_s)


def test_nonce_is_accepted_again_after_the_span() -> None:
    window = NonceWindow()
    assert window.use("ak", "nonce", 1_000.0)
    assert window.use("ak", "nonce", 1_000.0 + NONCE_SPAN_S + 1)
    assert not window.use("ak", "nonce", 1_000.0 + NONCE_SPAN_S + 2)


def test_steady_use_remembers_for_the_span_and_at_most_an_eighth_longer() -> None:
    window = NonceWindow(span_s=80)
    for second in range(1_000):
        assert window.use("ak", f"nonce {second}", second)
        assert not window.use("ak", f"nonce {max(0, second - 80)}", second)
        assert len(window) <= 91
    assert window.use("ak", "nonce 909", 999)
    assert window.forgotten_early == 0


def test_refused_nonce_does_not_live_longer() -> None:
    window = NonceWindow(span_s=100)
    assert window.use("ak", "nonce", 0)
    assert not window.use("ak", "nonce", 90)
    assert window.use("ak", "nonce", 113)


def test_key_pairs_have_nonces_of_their_own() -> None:
    window = NonceWindow()
    assert window.use("ak1", "nonce", 0)
    assert window.use("ak2", "nonce", 0)
    assert window.use("ak", "1nonce", 0)
    assert not window.use("ak1", "nonce", 0)


def test_window_holds_as_many_as_it_may_and_then_forgets_the_oldest() -> None:
    window = NonceWindow(size_max=90)
    assert all(window.use("ak", str(number), 0) for number in range(90))
    assert len(window) == 90
    assert window.forgotten_early == 0
    assert not any(window.use("ak", str(number), 0) for number in range(90))

    assert window.use("ak", "one more", 0)
    assert len(window) == 81
    assert window.forgotten_early == 10
    assert not window.use("ak", "10", 0)
    assert window.use("ak", "9", 0)


@pytest.mark.parametrize("size_max", [1, 2, 8, 9, 10, 64])
def test_window_never_grows_past_its_bound(size_max: int) -> None:
    window = NonceWindow(size_max=size_max)
    for number in range(10 * size_max):
        assert window.use("ak", str(number), number / 7)
        assert not window.use("ak", str(number), number / 7)
        assert len(window) <= size_max
    assert window.forgotten_early == 10 * size_max - len(window)


@pytest.mark.parametrize("size_max", [1, 9, 64, NONCES_MAX])
def test_many_digests_at_once_are_used_like_one_by_one(size_max: int) -> None:
    at_once, singly = NonceWindow(size_max=size_max), NonceWindow(size_max=size_max)
    for start in range(0, 1_000, 3):
        now_s = float(start)
        digests = [start - 1, start, start + 1, start + 1 + (1 << 60), start + 2]
        used_count = at_once.use_digests(digests, now_s)
        assert len(at_once) <= size_max
        one_by_one = sum(not singly.use_digest(digest, now_s) for digest in digests)
        if size_max >= 64:
            assert used_count == one_by_one
            assert len(at_once) == len(singly)
            assert not at_once.use_digest(start + 2 + (1 << 60), now_s)


def test_clock_set_back_forgets_nothing() -> None:
    window = NonceWindow()
    assert window.use("ak", "nonce", 5_000)
    assert window.use("ak", "other", 1_000)
    assert not window.use("ak", "nonce", 1_000)


def test_nonce_takes_little_memory_however_long_it_is() -> None:
    count = 100_000
    window = NonceWindow()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            window.use("access key", UUID(int=number).hex + "x" * 100, number / 1_000)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(window) == count
    assert used <= NONCE_BYTES_MAX * count


def test_a_thousand_calls_a_second_fit() -> None:
    assert NONCES_MAX >= 1_000 * NONCE_SPAN_S * (1 + 1 / GENERATIONS)
