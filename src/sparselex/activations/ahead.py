"""A source of which batches can be looked at before they are given out."""

from collections import deque
from typing import Any

from sparselex.activations.source import ActivationSource, Batch, EndOfData


class LookAhead:
    """`source`, batch by batch as it is; `ahead` shows the next ones first.

    What was looked at waits here, and the position stays that of the batches given out: nothing is read twice, and
    nothing of it needs to be kept to go on from there.
    """

    def __init__(self, source: ActivationSource):
        self._source = source
        self._waiting = deque[tuple[Batch, dict[str, Any]]]()
        self._at = source.state()

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self._source.d_in

    @property
    def d_out(self) -> int | None:
        """Width of the target, None where there is none of its own."""
        return self._source.d_out

    def next_batch(self) -> Batch:
        """The next batch. Raises `EndOfData` after the last."""
        batch, self._at = self._waiting.popleft() if self._waiting else self._read()
        return batch

    def ahead(self, n_tokens: int) -> list[Batch]:
        """The next batches, with `n_tokens` together or more; fewer where the data end."""
        n = sum(len(batch.positions) for batch, _ in self._waiting)
        while n < n_tokens:
            try:
                self._waiting.append(self._read())
            except EndOfData:
                break
            n += len(self._waiting[-1][0].positions)
        return [batch for batch, _ in self._waiting]

    def state(self) -> dict[str, Any]:
        """The position, as JSON values."""
        return self._at

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a position that `state` returned."""
        self._waiting.clear()
        self._source.load_state(state)
        self._at = self._source.state()

    def _read(self) -> tuple[Batch, dict[str, Any]]:
        batch = self._source.next_batch()
        return batch, self._source.state()
