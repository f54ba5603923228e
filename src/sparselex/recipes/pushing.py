"""A run's dictionary in a Hugging Face repository: the files that SAELens loads, and a card made from the report.
Notes, explanations and paths of this machine stay here."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.base.release import own_version
from sparselex.base.workspace import Workspace
from sparselex.convert.doors import export_dictionary
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.evaluate.model_features.cards import card_in, twin_cards
from sparselex.evaluate.records import Report
from sparselex.evaluate.report import evaluated_runs, report
from sparselex.evaluate.verdict import Held, verdict_of
from sparselex.recipes.dashboards.names import public_name
from sparselex.recipes.folder import RunFolder

CARD = "README.md"


class Pushed(Config):
    """What a repository was sent, or would be."""

    repository: str
    """Its name."""

    folder: str
    """Folder in it that holds the dictionary: SAELens' `sae_id`."""

    files: dict[str, int]
    """Bytes of each file."""

    card: str
    """The card."""

    address: str
    """Of what was sent; empty where nothing was."""


def push(workspace: Workspace, run: str, repository: str, *, private: bool = False, dry_run: bool = False) -> Pushed:
    """Send a run's dictionary to a repository, which is made if need be; with `dry_run` say what would be sent.

    Raises `UserError` without a dictionary, for one that SAELens has no architecture for, for a name that no repository
    has, and where the hub refuses.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise UserError(
            f"{repository!r} is no name of a repository.", "owner/name", "give it as the hub shows it."
        ) from None
    opened = RunFolder.open(workspace, run)
    manifest, card = opened.manifest("dictionary"), workspace.card(run)
    dictionary = load_dictionary(opened.folder / "dictionary")
    hook = "+".join(card.sites.hooks) if card.sites else "dictionary"
    inside, model = hook.replace(":", "."), public_name(card.model)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "repository"
        export_dictionary(dictionary, root / inside, "saelens", model_name=model, sites=card.sites)
        found = report(workspace, run) if run in evaluated_runs(workspace) else None
        text = card_of(repository, inside, opened, dictionary, manifest.notes, found)
        (root / CARD).write_text(text, encoding="utf-8", errors="backslashreplace")
        files = {
            path.relative_to(root).as_posix(): path.stat().st_size for path in sorted(root.rglob("*")) if path.is_file()
        }
        address = "" if dry_run else _send(root, repository, private, f"{inside} of {model}")
    return Pushed(repository=repository, folder=inside, files=files, card=text, address=address)


def _send(root: Path, repository: str, private: bool, message: str) -> str:
    api = HfApi(library_name="sparselex", library_version=own_version())
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        sent = api.upload_folder(repo_id=repository, folder_path=root, commit_message=message)
    except (HfHubHTTPError, OSError, ValueError) as error:  # refused, not reached, or no token
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{repository} could not be written: {said[:300]}",
            "a repository of yours, a token that may write to it (HF_TOKEN, or `hf auth login`), and a network",
            "put that right and run the same command again; --dry-run needs none of it.",
        ) from None
    return str(sent.commit_url)


def card_of(
    repository: str,
    inside: str,
    run: RunFolder,
    dictionary: TrainableDictionary,
    notes: dict[str, Any],
    found: Report | None,
) -> str:
    """The card: what the dictionary is, how it is loaded, and its figures with what they are held against."""
    card, text = run.workspace.card(run.name), run.config.text
    model = public_name(card.model)
    trained = f", trained on {notes['n_tokens']:,} tokens" if isinstance(notes.get("n_tokens"), int) else ""
    twin = f"\n**A control: of the model with {card.twin_words}.**\n" if card.twin_words else ""
    return f"""---
library_name: saelens
tags: [sparse-autoencoder, mechanistic-interpretability, sparselex]
---

# {_words(type(dictionary).__name__)} of {_words(model)} at {_words(inside)}
{twin}
{dictionary.d_in:,} → {dictionary.d_sae:,} latents{trained}. It reads `{card.sites}` of `{_words(model)}` on rows of
{text.n_ctx} tokens of `{_words(public_name(text.source))}`, and was made by sparselex {own_version()}.

```python
from sae_lens import {"SAE" if dictionary.is_autoencoder else "Transcoder as SAE"}

sae = SAE.from_pretrained({json.dumps(repository)}, {json.dumps(inside)})
```

Configuration: `{_words(json.dumps(dictionary.config.to_json()))}`

{_verdict(run.workspace, found) if found else ""}
## Figures

{_figures(found) if found else "Not evaluated."}
"""


def _verdict(workspace: Workspace, found: Report) -> str:
    """What was asked of it, against what, and what came out."""
    said = verdict_of(workspace, found, card_in(workspace, found.run), twin_cards(workspace, found.run))
    answered = [
        *((one.question, one.answer) for one in said.answers),
        *((q.question, q.answer) for q in (*said.model, *said.edits)),
    ]
    asked = [f"- {_words(question)} **{_words(answer)}**" for question, answer in answered]
    rows = [_held(one) for one in (*said.controls, said.nulls) if one.lost or one.beat or one.undecided]
    head = ["held against", "lost", "won", "undecided"]
    against = "\n".join(_line(row) for row in (head, ["---"] * len(head), *rows))
    open_ = "".join(f"- {_words(question)}\n" for question in said.unanswered)
    unanswered = f"\nNot asked yet:\n\n{open_}" if open_ else ""
    return f"## Verdict\n\n{_words(said.summary)}\n\n" + "\n".join(asked) + f"\n\n{against}\n{unanswered}"


def _held(one: Held) -> list[str]:
    return [one.name or one.words, *(", ".join(names) or "–" for names in (one.lost, one.beat, one.undecided))]


def _figures(found: Report) -> str:
    """The verdicts, and every figure beside its null and its controls."""
    named = [name for name in found.controls if any(name in one.controls for one in found.figures)]
    head = ["figure", "value", "95 % interval", "null", *named, "n"]
    rows = [_row(one, named) for one in found.figures]
    table = "\n".join(_line(row) for row in (head, ["---"] * len(head), *rows))
    verdicts = "\n".join(f"- {_words(verdict)}" for verdict in found.verdicts)
    defined = "\n".join(f"- `{one.name}`: {_words(one.definition)}" for one in found.figures)
    return (
        f"{verdicts}\n\n{table}\n\nThe null is the same figure where there is nothing to find; the other columns are "
        f"the same figure of controls.\n\n<details><summary>What each figure is</summary>\n\n{defined}\n\n</details>"
    )


def _row(one: Figure, named: Sequence[str]) -> list[str]:
    value = f"{number(one.value)} {one.unit}".strip() if one.failure is None else "not measured"
    interval = "–" if one.ci_low is None else f"{number(one.ci_low)} to {number(one.ci_high)}"
    controls = [number(one.controls.get(name)) for name in named]
    return [one.name, value, interval, number(one.null), *controls, f"{one.n:,}"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell if cell == '---' else _words(cell) for cell in cells)} |"


def _words(text: str) -> str:
    """Text in one line that neither ends a cell nor is markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
