"""Nonces used lately, so that no signed request is taken twice."""

from collections import deque
from collections.abc import Sequence
from typing import Final

NONCES_MAX: Final = 2_070_000
"""Nonces remembered: 1,000 calls a second over span and slack. So many take 150 MB."""

NONCE_SPAN_S: Final = 1_800
"""Twice the tolerance of timestamps. Source: `cloud-api.md` 2.3."""

GENERATIONS: Final = 8
"""A span is remembered in so many sets, each small enough to grow and to drop in a moment; one more is being filled."""

# A number below 2**60 takes 32 bytes, a longer one 48. Two nonces in use meet by chance once in 10**11 calls at most.
_DIGEST_MASK: Final = (1 << 60) - 1


class _Generation:
    __slots__ = ("digests", "last_s", "opened_s")

    def __init__(self, opened_s: float) -> None:
        self.digests: set[int] = set()
        self.opened_s = opened_s
        self.last_s = opened_s


class NonceWindow:
    """The nonces used within a span, at most `size_max` of them.

    A nonce is remembered for `span_s`, and for up to an eighth longer. When there are too many, the oldest are
    forgotten early and counted in `forgotten_early`: a good caller is never refused.

    Args:
        size_max: nonces, 1 or more; what is above a multiple of `GENERATIONS + 1` is not made use of.
        span_s: seconds.
    """

    __slots__ = ("_generation_size_max", "_generations", "_newest", "_size_max", "_span_s", "forgotten_early")

    def __init__(self, size_max: int = NONCES_MAX, span_s: float = NONCE_SPAN_S) -> None:
        self._size_max = size_max
        self._span_s = span_s
        self._generation_size_max = max(1, size_max // (GENERATIONS + 1))
        self._newest = _Generation(float("-inf"))
        self._generations = deque([self._newest])
        self.forgotten_early = 0

    def __len__(self) -> int:
        return sum(len(generation.digests) for generation in self._generations)

    def use(self, access_key_id: str, nonce: str, now_s: float) -> bool:
        """Take a nonce. False when this key pair used it within the span.

        Args:
            now_s: seconds of a clock that never goes back.
        """
        # salted anew in every process, so nobody can choose nonces that meet
        return self.use_digest(hash((access_key_id, nonce)), now_s)

    def use_digest(self, digest: int, now_s: float) -> bool:
        """`use` of a nonce that is known by a number: its lowest 60 bits count."""
        newest = self._newest
        if now_s - newest.opened_s >= self._span_s / GENERATIONS:
            newest = self._open_generation(now_s)
        digest &= _DIGEST_MASK
        for generation in self._generations:
            if digest in generation.digests:
                return False
        if len(newest.digests) >= self._generation_size_max:
            newest = self._open_generation(now_s)
        newest.digests.add(digest)
        newest.last_s = now_s
        return True

    def use_digests(self, digests: Sequence[int], now_s: float) -> int:
        """`use_digest` of many at once; returns how many of them were used before."""
        new = {digest & _DIGEST_MASK for digest in digests}
        for generation in self._generations:
            new = new.difference(generation.digests)
        used_count = len(digests) - len(new)
        newest = self._newest
        is_old = now_s - newest.opened_s >= self._span_s / GENERATIONS
        if is_old or len(newest.digests) + len(new) > self._generation_size_max:
            for digest in new:
                self.use_digest(digest, now_s)
        else:
            newest.digests |= new
            newest.last_s = now_s
        return used_count

    def _open_generation(self, now_s: float) -> _Generation:
        generations = self._generations
        while generations and generations[0].last_s < now_s - self._span_s:
            generations.popleft()
        while len(self) > self._size_max - self._generation_size_max:
            self.forgotten_early += len(generations.popleft().digests)
        self._newest = _Generation(now_s)
        generations.append(self._newest)
        return self._newest
