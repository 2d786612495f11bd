"""A row of slots, lent to whoever asks."""


class Slots:
    """`count` slots side by side, lent in runs of neighbours, of which the lowest that are free go first.

    So memory which is never needed at once is never touched.
    """

    def __init__(self, count: int) -> None:
        self._free = _run(0, count)

    @property
    def free(self) -> int:
        return self._free.bit_count()

    def lend(self, length: int) -> int | None:
        """The first of `length` neighbours; None where there are none so many."""
        starts = self._free
        for shift in range(1, length):
            starts &= self._free >> shift
        if not starts:
            return None
        first = (starts & -starts).bit_length() - 1
        self._free &= ~_run(first, length)
        return first

    def give_back(self, first: int, length: int) -> None:
        self._free |= _run(first, length)


def _run(first: int, length: int) -> int:
    return ((1 << length) - 1) << first
