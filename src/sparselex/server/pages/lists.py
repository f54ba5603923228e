"""`/lists`: the lists that people made of features, and `/lists/<name>`: one of them."""

from collections import Counter
from typing import Annotated

from pydantic import StringConstraints

from sparselex.base.config import Config
from sparselex.server.notes.records import Item, Listed
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page, PageRecord
from sparselex.server.pages.notes import dictionaries, titles_of


class ListView(Config):
    """A list among the others."""

    listed: Listed
    """The list."""

    n_features: int
    """Features in it."""


class ListsPage(PageRecord):
    """`/lists`: the lists that people made of features."""

    lists: list[ListView]
    """All lists, by name."""


class ItemView(Config):
    """A feature in a list."""

    item: Item
    """The feature and what is said of it here."""

    is_now: bool
    """Whether it is of the dictionary that the run has now."""

    title: str
    """The feature's label, or else its explanation in short; empty if there is neither."""


class ListPage(PageRecord):
    """`/lists/<name>`: one list."""

    listed: Listed
    """The list."""

    items: list[ItemView]
    """What is in it, in its order."""


def lists(opened: OpenWorkspace) -> ListsPage:
    """All lists."""
    counted = Counter(item.list for item in opened.notes.everything().items)
    found = [ListView(listed=one, n_features=counted[one.name]) for one in opened.notes.lists()]
    return ListsPage(title="Lists", lists=found)


def one_list(opened: OpenWorkspace, name: Annotated[str, StringConstraints(max_length=400)]) -> ListPage:
    """One list. Raises `NoSuchPage` for one that is not there."""
    found = next((one for one in opened.notes.lists() if one.name == name), None)
    if found is None:
        raise NoSuchPage(f"There is no list {name[:80]!r}.", "one of those on the page of lists", "choose one.")
    now, titles = dictionaries(opened), titles_of(opened)
    items = [
        ItemView(item=item, is_now=now.get(item.run) == item.dictionary, title=titles(item))
        for item in opened.notes.items(name)
    ]
    return ListPage(title=found.name, listed=found, items=items)


PAGE = Page(path="/lists", build=lists, template=TEMPLATES / "lists.html", label="Lists")
ONE = Page(path="/lists/{name:path}", build=one_list, template=TEMPLATES / "list.html")
