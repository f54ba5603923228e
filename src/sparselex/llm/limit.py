"""How many questions are open at once: more while the server answers, half as many when it refuses."""

_LONGEST_PATIENCE = 64
"""Rounds between two tries of one more, where one more was refused again and again."""


class Limit:
    """Grows from one open question to `most`. Not for several threads at once.

    Up to where the server last refused it grows by one with each answer (twice as many a round), from there on by one a
    round; a refusal halves it, however many of the questions of one round are refused. Halving at every try of one more
    would cost a server with a fixed limit a sixth of its work, so tries become rarer the more often the same limit is
    found.
    """

    def __init__(self, most: int):
        self.most, self._allowed, self._ceiling = most, 1.0, float(most)
        self._patience, self._answered = 1, False
        self.is_tried = False
        """Whether anything was ever answered; before that, nobody knows that the server is one."""
        self.round = 0
        """Of a question that is sent now; a later refusal of an earlier round says nothing new."""

    @property
    def allowed(self) -> int:
        """Questions that may be open."""
        return int(self._allowed)

    def answered(self) -> None:
        """A question was answered."""
        self._answered = self.is_tried = True
        if self._allowed < self._ceiling:
            self._allowed = min(self._ceiling, self._allowed + 1)
            return
        if self._allowed > self._ceiling + 2:
            self._patience = 1
        self._allowed = min(float(self.most), self._allowed + 1 / (self._allowed * self._patience))

    def refused(self, sent_in_round: int) -> None:
        """A question was refused for want of room, or its answer was lost."""
        if sent_in_round < self.round:
            return
        # One that answers nothing at all says nothing of how much it would bear.
        if self._answered:
            tried_more = self._allowed >= self._ceiling
            self._patience = min(_LONGEST_PATIENCE, 2 * self._patience) if tried_more else 1
            self._ceiling = max(1.0, self.allowed - 1.0)
        self._allowed = max(1.0, self._allowed / 2)
        self._answered = False
        self.round += 1
