"""Connections of which nobody knows yet whose they are: bounded, so that who sends nothing but floods stays outside.

Whoever has shown who he is leaves this count; what he may have then is bounded by other limits.
"""


class Newcomers:
    """Counts connections by address, and the bytes that are kept for them.

    Args:
        count_max: of all addresses together.
        of_address_max: of one address, so that nobody alone can take all places.
        bytes_max: received of all of them and kept.
    """

    def __init__(self, count_max: int, of_address_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._of_address_max = of_address_max
        self._bytes_max = bytes_max
        self._of_address: dict[str, int] = {}
        self.count = 0
        self.kept_bytes = 0
        self.refused_count = 0

    def enter(self, address: str) -> bool:
        """Count one more; `leave` undoes it. False, and nothing is counted, when there is no place for it."""
        known = self._of_address.get(address, 0)
        if self.count >= self._count_max or known >= self._of_address_max:
            self.refused_count += 1
            return False
        self.count += 1
        self._of_address[address] = known + 1
        return True

    def keep(self, size_bytes: int) -> bool:
        """Count what one of them has sent. False when that is too much of all together; it is counted all the same."""
        self.kept_bytes += size_bytes
        if self.kept_bytes <= self._bytes_max:
            return True
        self.refused_count += 1
        return False

    def leave(self, address: str, kept_bytes: int = 0) -> None:
        """Count one no more, with all that it has sent: it is gone, or it is known who it is."""
        self.count -= 1
        self.kept_bytes -= kept_bytes
        left = self._of_address[address] - 1
        if left:
            self._of_address[address] = left
        else:
            del self._of_address[address]
