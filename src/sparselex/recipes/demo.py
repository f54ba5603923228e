"""The demo: one run and its random-weight twin through every stage."""

import time

import torch

from sparselex.base.workspace import MAIN, Workspace
from sparselex.features.build import n_indexed
from sparselex.recipes.pipeline import Pipeline
from sparselex.recipes.run import RunConfig, twin_of

TWIN = "twin"
"""The run on the model with weights drawn at random."""


def run_demo(workspace: Workspace, config: RunConfig, *, twin: bool = True) -> None:
    """Run every stage of `main` and, unless told otherwise, of `twin`; says what it does and how long it will take."""
    main = Pipeline(workspace, MAIN, config)
    others = [Pipeline(workspace, TWIN, twin_of(config))] if twin else []
    _say(f"model {config.model.name}: {main.model.n_layers} layer(s), d_model {main.model.d_model}, hook {main.hook}")
    _say(f"text {config.text.source}: tokenizing (seconds to a minute)")
    corpus = main.corpus
    documents = corpus.manifest.notes["n_documents"]
    _say(
        f"corpus: {corpus.manifest.notes['n_tokens']:,} tokens of {corpus.n_documents:,} documents "
        f"({', '.join(f'{split} {n:,}' for split, n in documents.items())})"
    )
    speed = _products_per_second()
    for pipeline in [main, *others]:
        _run(pipeline, speed)


def _run(pipeline: Pipeline, speed: float) -> None:
    config = pipeline.train_config()
    d_in, d_sae = config.dictionary.d_in, config.dictionary.d_sae
    encode_s = 2 * d_in * d_sae / speed  # seconds of encoding a token; shares of it measured in benchmarks
    coarse = config.dictionary.to_json().get("selection") == "bfloat16"
    n_read = n_indexed(pipeline.corpus, pipeline.config.index)
    name = pipeline.run if pipeline.run == MAIN else f"{pipeline.run} (same recipe, weights drawn at random)"
    if pipeline.config.cached:
        _stage(f"{name}: harvest activations to disk", None, pipeline.harvest)
    _stage(
        f"{name}: train {d_sae:,} latents on {config.n_tokens:,} tokens",
        (1.0 if coarse else 1.7) * encode_s * config.n_tokens,
        pipeline.train,
    )
    _stage(f"{name}: index all features over {n_read:,} tokens", 1.5 * encode_s * n_read, pipeline.index)
    _stage(f"{name}: explain and score every feature by rule, with nulls", d_sae * 0.012, pipeline.explain)
    _stage(f"{name}: evaluate on held-out documents", None, pipeline.evaluate)


def _stage(what: str, seconds: float | None, act) -> None:
    about = "" if seconds is None else f" (about {_duration(seconds)})"
    _say(what + about)
    started = time.monotonic()
    act()
    _say(f"  done in {time.monotonic() - started:.1f} s")


def _duration(seconds: float) -> str:
    if seconds < 5:
        return "a few seconds"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _say(text: str) -> None:
    print(text, flush=True)


def _products_per_second() -> float:
    """Operations a second of a matrix product on this machine, for the forecasts only."""
    x, W, out = torch.ones(2048, 512), torch.ones(512, 4096), torch.empty(2048, 4096)
    times = []
    for _ in range(6):  # the first ones wake the threads
        started = time.perf_counter()
        torch.mm(x, W, out=out)
        times.append(time.perf_counter() - started)
    return 2 * x.numel() * W.shape[1] / sorted(times)[2]
