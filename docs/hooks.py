"""What MkDocs does besides its configuration: takes in pages that lie outside `docs/`, makes a page of public names for
each room, and turns links between all of them into links of the site. It reads our source and imports none of it."""

import ast
import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
GUESTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "LICENSE": "license.md",
    "src/sparselex/lm/weights/seed-0/README.md": "models/seed-0.md",
    "src/sparselex/lm/weights/seed-1/README.md": "models/seed-1.md",
}
"""Files of the repository to the addresses that they have on the site."""

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def public_names() -> dict[str, str]:
    """The table of `sparselex/__init__.py`: every public name with the file that defines it."""
    tree = ast.parse((ROOT / "src" / "sparselex" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "_PUBLIC" for target in targets):
            return ast.literal_eval(node.value)
    raise LookupError("sparselex/__init__.py has no table _PUBLIC")


def on_config(config: Any) -> Any:
    """Put the pages of a folder where the navigation says `folder/*`, and where it says `*` those of `docs/` that it
    names nowhere."""
    docs = ROOT / "docs"
    named = set(_names(config.nav))
    folders = {
        "api/*": [f"api/{room}.md" for room in _rooms()],
        "decisions/*": sorted(f"decisions/{path.name}" for path in (docs / "decisions").glob("*.md")),
        "*": sorted(path.name for path in docs.glob("*.md") if path.name not in named),
    }
    config.nav = _spread(config.nav, folders)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the guests, and a page for each room that has public names."""
    for name, place in GUESTS.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(
            File.generated(config, place, content=f"# License\n\n```text\n{text}```\n" if "." not in name else text)
        )
    for room, names in _rooms().items():
        files.append(File.generated(config, f"api/{room}.md", content=_api_page(room, names)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    place = page.file.src_uri
    return _LINK.sub(lambda link: _on_site(link, place, files), markdown)


def _on_site(link: re.Match[str], place: str, files: Files) -> str:
    target, mark, anchor = link["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target) or link["text"].startswith("["):
        return link[0]
    origin = {address: name for name, address in GUESTS.items()}.get(place, f"docs/{place}")
    name = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    found = GUESTS.get(name, name.removeprefix("docs/"))
    if files.get_file_from_path(found) is None and (ROOT / name).exists():
        return link["text"]  # a file of the repository that is no page, such as a test
    return f"{link['image']}[{link['text']}]({os.path.relpath(found, posixpath.dirname(place) or '.')}{mark}{anchor})"


def _rooms() -> dict[str, list[str]]:
    """Every room that has public names, with the full names of what they stand for."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for name, module in public_names().items():
        rooms[module.split(".")[1]].append(f"{module}.{name}")
    return dict(rooms)


def _api_page(room: str, names: list[str]) -> str:
    told = ast.get_docstring(ast.parse((ROOT / "src" / "sparselex" / room / "__init__.py").read_text(encoding="utf-8")))
    known = [f"::: {name}" for name in names]
    return "\n\n".join([f"# {room}", told or "", *known]) + "\n"


def _names(nav: Any) -> Iterator[str]:
    """Every page that a part of the navigation names."""
    if isinstance(nav, str):
        yield nav
    for item in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _names(item)


def _spread(nav: Any, folders: dict[str, list[str]]) -> Any:
    if isinstance(nav, dict):
        return {title: _spread(item, folders) for title, item in nav.items()}
    if isinstance(nav, list):
        spread = [_spread(item, folders) for item in nav]
        return [page for item in spread for page in (item if isinstance(item, list) else [item])]
    return folders.get(nav, nav)
