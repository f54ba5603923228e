"""What the reader of a feature's page asks to see: all of it stands in the address."""

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import ConfigDict, Field, StringConstraints

from sparselex.base.bounds import Seed
from sparselex.base.config import Config

Show = Literal["top", "level", "range", "random", "token", "all"]
View = Literal["snippet", "stack", "row"]
Axis = Literal["linear", "log"]

_Short = Annotated[str, StringConstraints(max_length=100)]
_Size = Annotated[float, Field(ge=0, le=1e38)]


class Asked(Config):
    """What stands behind the `?` of a feature's page. What is no word of ours is left alone: scripts have theirs."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    show: Show = "top"
    """Which examples: the largest (`top`), those nearest to a `level`, of a `range` of activation, drawn at `random`,
    on a `token`; or `all`, which is the largest, some at random and some of each range."""

    level: Annotated[int, Field(ge=0, le=100)] = 50
    """Of `show=level`: per cent of the largest training activation."""

    low: _Size = 0.0
    """Of `show=range`: the lower end, excluded; with no `high` the uppermest range is shown."""

    high: _Size = 0.0
    """The upper end, included."""

    token: _Short = ""
    """Of `show=token`: text that a token must contain, upper and lower case alike."""

    seed: Seed = 0
    """What is drawn at random is drawn by this."""

    view: View = "snippet"
    """How much of the text: a `snippet` around each place, a `stack` of lines with the places beneath each other, or
    the whole `row` that the model read."""

    axis: Axis = "linear"
    """Of the histogram: bins of equal width (`linear`), or twice as wide every second bin (`log`)."""

    colour: _Short = ""
    """Expression (RE2) by which the bars of the histogram are coloured: the share of tokens whose text matches."""

    from_: Annotated[str, StringConstraints(max_length=1000), Field(alias="from")] = ""
    """The query of the list that the reader came from: previous and next then follow that list."""

    def words(self, **changes: Any) -> dict[str, Any]:
        """What is asked, with so many words of it changed, as an address has it: defaults are left out."""
        # By hand: a page has some fifteen such links, and a copy and a dump of each took 0.1 ms together.
        return {
            name: value
            for field, name, default in _FIELDS
            if (value := changes.get(field, getattr(self, field))) != default
        }

    def query(self, **changes: Any) -> str:
        """The same from the `?` of the address on; empty where nothing is asked."""
        words = self.words(**changes)
        return f"?{urlencode(words, errors='backslashreplace')}" if words else ""

    def other_latent(self) -> str:
        """The same view of another feature: without what is of this one alone."""
        show = "top" if self.show == "range" else self.show
        return self.query(show=show, low=0.0, high=0.0, seed=0)


_FIELDS = [(name, field.alias or name, field.default) for name, field in Asked.model_fields.items()]
"""What each field is called here and in an address, and what it is where nothing is asked."""
