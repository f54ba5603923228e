"""What a page shows of asking a language model about its feature."""

from sparselex.base.config import Config
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.labels import LABEL
from sparselex.explain.asking.registry import JUDGES, WRITERS
from sparselex.server.live_ask_records import AskState
from sparselex.server.opened import OpenWorkspace

VERB = "explain-llm"
"""The stage whose options are those of the run where it was explained before."""


class AskView(Config):
    """Asking a language model about one feature."""

    state: AskState
    """What became of it."""

    writers: list[str]
    """Who can be asked to explain, and whose explanations of this latent are there to be judged."""

    writing: list[str]
    """Those of them who write."""

    judges: list[str]
    """Who can be asked to judge."""

    writer: str
    """Who is chosen."""

    chosen: list[str]
    """Who is chosen to judge: asked for before, else by the options of the run, else by default."""


def writers_of(opened: OpenWorkspace, run: str, latent: int) -> list[str]:
    """Who can be asked to explain a latent, and whose explanations of it are there."""
    entries = opened.explained.entries(opened.index(run).index).get(latent)
    there = [one.explainer for one in entries if one.status == "explained"]
    labelled = [LABEL] if latent in opened.labels(run) else []
    return list(dict.fromkeys([*WRITERS.names(), *there, *labelled]))


def ask_view(opened: OpenWorkspace, run: str, latent: int, state: AskState) -> AskView:
    """What was asked of one latent, and what can be."""
    defaults = {name: AskConfig.model_fields[name].default for name in ("writer", "judges")}
    kept = opened.workspace.settings(run).get("stages", {}).get(VERB) or {} if state.model else {}
    chosen = defaults | {name: kept[name] for name in defaults if name in kept}
    writers = writers_of(opened, run, latent) if state.model else []
    return AskView(
        state=state,
        writers=writers,
        writing=[name for name in WRITERS.names() if name in writers],
        judges=JUDGES.names() if state.model else [],
        writer=state.writer or chosen["writer"],
        chosen=list(state.judges or chosen["judges"]),
    )
