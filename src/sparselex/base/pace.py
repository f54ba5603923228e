"""How fast work goes on that is fetched before it is done, and how long it will take."""

import time


class Pace:
    """What a unit of work costs, fetching and doing timed apart: where a block is fetched at a time, either of them
    stands still while the other goes on, and the share of both in the time so far says little of the time to come."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._fetching_s = self._doing_s = 0.0
        self._n_fetched = self._n_done = 0.0

    def fetched(self, n: float) -> None:
        """`n` units more are at hand; the time since the last call was spent on that."""
        self._n_fetched += n
        self._fetching_s += self._passed()

    def done(self, n: float) -> None:
        """`n` units more are done; likewise."""
        self._n_done += n
        self._doing_s += self._passed()

    @property
    def begun(self) -> bool:
        """Whether anything has been fetched."""
        return self._n_fetched > 0

    @property
    def speed(self) -> float | None:
        """Units a second, by what fetching one and doing one have taken so far; None before there is anything to tell.
        Before the first is done, fetching is all that is known."""
        seconds = self._each()
        return 1 / sum(seconds) if sum(seconds) else None

    def left(self, n: float) -> float | None:
        """Seconds for `n` units that are still to be done, those at hand among them."""
        fetching_s, doing_s = self._each()
        if not fetching_s + doing_s:
            return None
        at_hand = max(0.0, self._n_fetched - self._n_done)
        return max(0.0, n - at_hand) * fetching_s + n * doing_s

    def _each(self) -> tuple[float, float]:
        fetching_s = self._fetching_s / self._n_fetched if self._n_fetched else 0.0
        return fetching_s, self._doing_s / self._n_done if self._n_done else 0.0

    def _passed(self) -> float:
        before, self._at = self._at, time.monotonic()
        return self._at - before
