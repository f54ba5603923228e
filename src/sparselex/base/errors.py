"""The one error a user can cause, and how it speaks."""


class UserError(Exception):
    """Something the user can put right.

    Its text has three parts, always in this order: what was given, what was expected, what to do next.
    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, given: str, expected: str, todo: str):
        super().__init__(f"{given}\n  expected: {expected}\n  to do: {todo}")
        self.given = given
        self.expected = expected
        self.todo = todo
