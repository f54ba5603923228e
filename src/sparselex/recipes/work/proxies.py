"""Look for the features that carry the shipped concepts."""

from sparselex.atlas.proxies.config import HowMeasured, ProxiesConfig
from sparselex.atlas.proxies.make import write_proxies
from sparselex.atlas.proxies.neurons import Neurons
from sparselex.atlas.proxies.walk import Beside
from sparselex.base.files import fingerprint
from sparselex.evaluate.report import write_report
from sparselex.features.index import FeatureIndex
from sparselex.recipes.finding import random_twins, rules_of
from sparselex.recipes.run import Run
from sparselex.recipes.stages.proxies import Proxies


def proxies_run(run: Run, stage: Proxies) -> None:
    """The features of a run for each concept; a report that is there already takes the figures up."""
    index, twins = run.index, random_twins(run.workspace, run.name)
    inputs = {"index": index.id, "corpus": run.corpus.id, "rules": fingerprint(rules_of(stage.proxies))}
    inputs |= {f"{name}/index": made for name, made in twins.items()}
    to = run.folder / Proxies.makes
    write_proxies(index, run.name, stage.part(ProxiesConfig), to, inputs, beside_of(run, index, stage))
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def beside_of(run: Run, index: FeatureIndex, config: HowMeasured) -> Beside:
    """What a run's latents are held against: its neurons, and the twins that are indexed."""
    twins = {
        name: FeatureIndex(run.workspace.run(name) / "index", index.corpus)
        for name in random_twins(run.workspace, run.name)
    }
    if not config.neuron_rows:
        return Beside(None, "left out by --neuron-rows 0", twins)
    return Beside(Neurons(run.reader, config.neuron_rows), "", twins)
