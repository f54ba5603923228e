"""What a run is called outside of this machine."""

from pathlib import PurePath

from sparselex.base.errors import UserError
from sparselex.base.runs import RunCard

LONGEST_TITLE = 120
"""Characters of an explanation that lists show."""


def public_name(name: str) -> str:
    """The name of a model or a text as others may read it: of a file or folder only its last part."""
    return PurePath(name).name if PurePath(name).is_absolute() else name


def layer_of(card: RunCard) -> int:
    """The layer of the last hook that is written. Raises `UserError` for a module by its path, which has none."""
    hook = card.sites.written[-1] if card.sites else None
    if hook is None or hook.layer is None:
        raise UserError(
            f"The run reads {hook or 'no place yet'}, which has no number of a layer.",
            "a layer, by which dashboards are sorted",
            "name it with --layer.",
        )
    return hook.layer
