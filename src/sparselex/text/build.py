"""Build the token corpus: documents read, split, tokenized and laid out in rows, once."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparselex.base.artifacts import MANIFEST, open_artifact
from sparselex.base.bos import bos_of
from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint, write_json
from sparselex.base.staging import finished, stage
from sparselex.text.config import CorpusConfig
from sparselex.text.corpus import TokenCorpus
from sparselex.text.division import division
from sparselex.text.documents import Document, Documents, Skipped
from sparselex.text.layouts import LAYOUTS, Layout, RowFiles, join
from sparselex.text.mixture import Mixture
from sparselex.text.records import ALTERED, Left
from sparselex.text.roles import Spans, role_table
from sparselex.text.splits import SPLITS, Split, divided
from sparselex.text.spool import Spool
from sparselex.text.taking import Taken, take
from sparselex.text.tokenizer import Tokenizer


def build_corpus(
    documents: Iterable[Document | Skipped] | Mixture,
    tokenizer: Tokenizer,
    config: CorpusConfig,
    to: Path | str,
    *,
    text_id: str = "",
) -> TokenCorpus:
    """Tokenize `documents` into a corpus at `to`; a corpus made from the same inputs is kept as it is.

    `text_id` identifies the contents of the source (`sources.text_id`); without it `config.source` must do that.
    Of a corpus that is kept no document is asked for. Raises `UserError` if a split that was asked for stays empty
    (nothing could be scored on it), and for a prompt that is longer than a row.
    """
    to = Path(to)
    found = documents if isinstance(documents, Documents | Mixture) else Documents(documents)
    inputs = _inputs(tokenizer, text_id or fingerprint(config.source))
    if not finished(to, "corpus", config, inputs):
        found.begin()
    with stage(to, "corpus", config, inputs) as staging:
        if staging.made:
            return TokenCorpus(to)
        notes = _write(found, tokenizer, config, staging.folder)
        for split, share in zip(SPLITS, config.shares, strict=True):
            if share and not notes["n_documents"][split]:
                raise UserError(
                    f"None of the {sum(notes['n_documents'].values())} documents fell into the {split} split.",
                    "enough documents, beside copies of each other, for train, validation and test",
                    "take more of the text (--tokens), give more, or text divided into more documents (a folder, JSON, "
                    "or <|endoftext|> marks).",
                )
        staging.finish(notes)
    return TokenCorpus(to)


def text_of(corpus: Path, tokenizer: Tokenizer, config: CorpusConfig) -> str | None:
    """The `text_id` of the finished corpus in the folder `corpus`; None where there is none, or one of another
    tokenizer or configuration. Raises `UserError` if it is damaged."""
    if not (corpus / MANIFEST).is_file():
        return None
    text = open_artifact(corpus, "corpus").inputs["text"]
    return text if finished(corpus, "corpus", config, _inputs(tokenizer, text)) else None


def _inputs(tokenizer: Tokenizer, text_id: str) -> dict[str, str]:
    return {"tokenizer": tokenizer.id, "text": text_id}


def _write(documents: Documents | Mixture, tokenizer: Tokenizer, config: CorpusConfig, folder: Path) -> dict[str, Any]:
    bos_id = bos_of(tokenizer, config.bos)
    with contextlib.ExitStack() as stack:
        opened = {split: RowFiles(folder, split, tokenizer, config.n_ctx, bos_id) for split in SPLITS}
        for rows in opened.values():
            stack.enter_context(contextlib.closing(rows))
        parts = {split: LAYOUTS[config.layout](rows, tokenizer) for split, rows in opened.items()}
        spool = stack.enter_context(contextlib.closing(Spool(folder / "spool", opened["train"].dtype)))
        taken = take(documents, tokenizer, config, parts["train"].spans_of, spool)
        splits = divided(taken.names, taken.groups, config)
        _lay_out(taken, splits, parts)
    join(folder, list(opened.values()), config.n_ctx)
    np.save(folder / "document-splits.npy", np.array([SPLITS.index(split) for split in splits], dtype=np.int8))
    write_json(folder / "documents.json", taken.names)
    tokenizer.vocabulary.save(folder)
    notes = {
        "n_tokens": sum(spool.lengths),
        "n_documents": {split: splits.count(split) for split in SPLITS},
        "n_rows": {split: rows.n_rows for split, rows in opened.items()},
        "n_padding": {split: rows.n_padding for split, rows in opened.items()},
        "bos_id": bos_id,
        "pad_id": opened["train"].pad_id,
        "roles": _write_roles(folder, [part.spans for part in parts.values()]),
        "skipped": [Left(what=what, n=n, first=first).to_json() for what, (n, first) in taken.skipped.items()],
        "altered": _altered(taken.altered),
        "parts": [part.to_json() for part in taken.parts],
        "division": division(taken, splits, config).to_json(),
    }
    spool.path.unlink()
    return notes


def _altered(names: Sequence[str]) -> list[dict[str, Any]]:
    return [Left(what=ALTERED, n=len(names), first=names[0]).to_json()] if names else []


def _lay_out(taken: Taken, splits: Sequence[Split], parts: Mapping[Split, Layout]) -> None:
    """Give every document to the rows of its split."""
    for number, (ids, spans, split) in enumerate(zip(taken.spool.documents(), taken.spans, splits, strict=True)):
        parts[split].add(number, ids, spans)
    for part in parts.values():
        part.finish()


def _write_roles(folder: Path, parts: list[list[Spans]]) -> list[str]:
    """Write the roles of all rows, if there are any; returns their names."""
    spans = [row for part in parts for row in part]
    names = list(dict.fromkeys(name for row in spans for name in row))
    if names:
        np.save(folder / "roles.npy", role_table(spans, names))
    return names
