"""The names of the tasks. Nothing here loads PyTorch."""

from collections.abc import Callable

from sparselex.base.registry import Registry
from sparselex.tasks.records import Task
from sparselex.text.tokenizer import Tokenizer

TASKS: Registry[Callable[[Tokenizer], Task]] = Registry(
    "task",
    {
        "ioi": "sparselex.tasks.ioi:make_ioi",
        "agreement": "sparselex.tasks.agreement:make_agreement",
        "brackets": "sparselex.tasks.brackets:make_brackets",
    },
)
"""Makers of tasks by name, each a function of the model's tokenizer, which decides what words are one token. Other
packages add theirs through entry points of the group `sparselex.task`."""
