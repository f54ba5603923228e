"""The command line in this process: what a user types, what is printed, how it ends."""

import contextlib
import io
import json
from typing import Any, NamedTuple

from sparselex.cli.main import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


def sparselex(*arguments: object) -> Ended:
    """Run `sparselex` with these arguments."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    return Ended(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Ended:
    """The same for a command that must succeed."""
    ended = sparselex(*arguments)
    assert ended.code == 0, ended.err + ended.out
    return ended
