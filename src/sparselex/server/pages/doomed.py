"""`/doomed`: features of activations that are no features of the model."""

from sparselex.base.figures import Figure
from sparselex.evaluate.doomed.found import doomed_of
from sparselex.evaluate.doomed.records import Doomed, ExampleFound, meaning
from sparselex.evaluate.doomed.words import called
from sparselex.server.doomed_charts import bars_of, kinds_in
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord
from sparselex.server.task_charts import Bars


class DoomedPage(PageRecord):
    """`/doomed`: five small models whose computation is known, and who finds its variables."""

    found: Doomed
    """What was found."""

    def bars(self, one: ExampleFound, measure: str) -> Bars:
        """A measure of every method as bars."""
        return bars_of(one, measure)

    def called(self, measure: str) -> str:
        """The name of a measure or a fact in words."""
        return called(measure)

    def meaning(self, fact: Figure) -> str:
        """What a fact is."""
        return meaning(fact)

    def kinds(self, one: ExampleFound) -> dict[str, str]:
        """What the colours of an example's bars are."""
        return kinds_in(one)


def doomed_page(opened: OpenWorkspace) -> DoomedPage:
    """All examples with their verdicts."""
    found = doomed_of(opened.workspace.path)
    if found is None:
        raise NotMadeYet("The examples were not run yet.", "examples that were run", f"run `{command_of(opened)}`.")
    return DoomedPage(title="Features of activations, and of the model", found=found)


def command_of(opened: OpenWorkspace) -> str:
    """What makes the page."""
    return f"sparselex recipe doomed {opened.workspace.typed}"


PAGE = Page(path="/doomed", build=doomed_page, template=TEMPLATES / "doomed.html")
