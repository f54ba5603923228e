"""`sparselex explain`: by rules, or by a language model."""

from typing import Any

from sparselex.base.errors import UserError
from sparselex.cli.making import command, flags
from sparselex.cli.stages import JSON, REPLACE, RUN, WORKSPACE, act_stage
from sparselex.recipes.stages.ask import Ask
from sparselex.recipes.stages.explain import Explain


def act(values: dict[str, Any], **more: Any) -> None:
    """Take the stage that the options name: with `--llm` the one that asks a language model."""
    asks = "llm" in values
    stage, other = (Ask, Explain) if asks else (Explain, Ask)
    foreign = [flags(other)[name] for name in values if name not in stage.model_fields]
    if foreign:
        raise UserError(
            f"{', '.join(foreign)} {'were' if len(foreign) > 1 else 'was'} given {'beside' if asks else 'without'} "
            "--llm.",
            "options of language models beside --llm URL, and options of rules without it",
            "leave them out, or add --llm and --llm-model." if not asks else "leave them out, or leave out --llm.",
        )
    act_stage(stage, values, **more)


explain = command(Explain, act, WORKSPACE, RUN, REPLACE, JSON, beside=Ask)
