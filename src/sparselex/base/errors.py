"""The one error a user can cause, and how it speaks."""

import errno


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

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        # An exception is otherwise made anew, in another process, from its text alone.
        return type(self), (self.given, self.expected, self.todo)


class ElsewhereError(UserError):
    """Raised in a process that works together with others when one of them has ended, which has said why itself."""


_SPOKEN_WITH_Y = ("uint", "uni", "use", "eu")
"""Beginnings that are written with a vowel, and not spoken with one."""


def a(word: str) -> str:
    """The word with the article it has: `a dict`, `an int`."""
    begins = word.lower()
    vowel = begins.startswith(tuple("aeiou")) and not begins.startswith(_SPOKEN_WITH_Y)
    return f"{'an' if vowel else 'a'} {word}"


def no_memory(error: Exception) -> UserError | None:
    """What is said where memory ran out, which PyTorch tells by words alone; None for any other error."""
    if not isinstance(error, MemoryError) and "tried to allocate" not in str(error).lower():
        return None
    return UserError(
        f"Memory ran out: {str(error)[:300] or 'nothing more could be had'}.",
        "work that fits into the memory of this machine",
        "lower what sets its size (--expansion, --k, --batch-rows, --rows, --context, --n-top), then run the same "
        "command again; finished work is kept.",
    )


REFUSALS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.ENODEV),
)
"""What a file system may answer to a program that has no fault: full, not allowed, not there, no such kind of thing."""


_FULL = (errno.ENOSPC, errno.EDQUOT)


def refusal(error: OSError, doing: str = "") -> UserError:
    """What is said of such an answer to `doing` something, such as `Writing FOLDER`."""
    doing = doing or "Reading or writing" + (f" {error.filename}" if error.filename else "")
    first = "free some space" if error.errno in _FULL else "put that right"
    return UserError(
        f"{doing} failed: {error.strerror}.",
        "files and folders that are there and that you may use, on a disk with room",
        f"{first} or choose another folder, then run the same command again; finished work is kept.",
    )
