"""`sparselex serve`: the browser."""

from pathlib import Path
from typing import Annotated, Any

import typer


def serve(
    workspaces: Annotated[
        list[Path],
        typer.Argument(metavar="WORKSPACE...", help="The workspace folder; or several, each under its name."),
    ],
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen on; by default this machine only. Others are answered with the token that is "
            "printed.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8321,
    to_all: Annotated[
        bool, typer.Option("--to-all", help="Answer everybody who reaches the address, without a token.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Let readers put texts to the runs' models, steer them and ablate features: a process of its own "
            "loads a model when it is first asked.",
        ),
    ] = False,
    llm: Annotated[
        str,
        typer.Option(
            "--llm",
            metavar="URL",
            help="Let readers have features explained, one at a time, by the language model behind this address (as "
            "of `explain --llm`); `local` for one that is loaded here.",
        ),
    ] = "",
    llm_model: Annotated[str, typer.Option("--llm-model", metavar="NAME", help="Name of that model.")] = "",
    llm_key_env: Annotated[
        str | None,
        typer.Option("--llm-key-env", metavar="VARIABLE", help="Environment variable that holds that server's key."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", help="A name that the server goes by besides, as a proxy's before it; asks for the token as well."
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Let nobody write notes, or ask a language model.")
    ] = False,
    base_path: Annotated[
        str, typer.Option("--base-path", help="What stands in front of all addresses behind a proxy, such as /lab.")
    ] = "",
) -> None:
    """Browse a workspace, or several: runs, feature lists, a page for every feature; notes are written there."""
    from sparselex.base.workspace import Workspace
    from sparselex.recipes.stages.ask import LOCAL, Ask
    from sparselex.server.app import serve as serve_pages
    from sparselex.server.live_ask_records import LanguageModel

    asks = LanguageModel(llm, llm_model, llm_key_env) if llm or llm_model or llm_key_env else None
    if asks is not None:
        asked = Ask(llm=llm, llm_model=llm_model, key_env=llm_key_env)
        asked.check_named() if llm == LOCAL else asked.server()  # refused here, and not when a reader asks
    first, *more = map(Workspace, workspaces)
    options: dict[str, Any] = {"names": name or (), "read_only": read_only, "base_path": base_path, "live": live}
    options["asks"] = asks
    serve_pages(first, *more, host=host, port=port, to_all=to_all, **options)
