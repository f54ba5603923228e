"""What holds of every page in both themes: nothing from elsewhere, no complaint of the browser, one heading, no
sideways scroll in narrow windows, and nothing serious that axe-core finds (for readers with other senses)."""

import os
from pathlib import Path

import pytest

from sparselex.server.answering import PAGES

pytestmark = pytest.mark.slow

AXE = Path(os.environ.get("AXE_CORE", Path(__file__).parents[2] / ".cache/axe/node_modules/axe-core/axe.min.js"))
"""axe-core, as `npm install --prefix .cache/axe axe-core` leaves it."""

FILES = {"download", "points", "text_file", "notes_export", "study_export", "graph_file"}
"""Pages that are files."""

ADDRESSES = {
    "overview": ["/"],
    "run": ["/runs/main"],
    "features": ["/runs/main/features", "/runs/main/features?q=nothing-has-this-name", "/runs/main/features?q=is:dead"],
    "random": ["/runs/main/features/random"],
    "feature": [
        "/runs/main/features/3",
        "/runs/twin/features/3?digits=1&show=random&seed=2&view=row",
        "/runs/main/features/3?show=level&view=stack&axis=log&colour=e",
    ],
    "elsewhere": ["/runs/main/features/3/elsewhere"],
    "ask": ["/runs/main/features/3/ask"],
    "place": ["/runs/main/features/3/at/200?whole=document"],
    "feature_notes": ["/runs/main/features/3/notes"],
    "map": ["/runs/main/map"],
    "together": ["/runs/twin/map/together", "/runs/twin/map/together?cluster=0", "/runs/twin/map/together?latent=3"],
    "manifolds": ["/runs/main/manifolds"],
    "analyses": ["/runs/main/analyses"],
    "census": ["/runs/main/census"],
    "neurons": ["/runs/main/neurons"],
    "proxies": ["/runs/main/proxies"],
    "proxy": ["/runs/main/proxies/self"],
    "automata": ["/runs/main/automata"],
    "automaton": ["/runs/main/automata/0"],
    "pinned": ["/runs/main/pinned"],
    "logits": ["/runs/main/logits"],
    "intervals": ["/runs/main/intervals"],
    "point": ["/runs/main/map/latents/3"],
    "comparisons": ["/runs/main/compare"],
    "comparison": ["/runs/main/compare/twin"],
    "rate": ["/rate/main"],
    "rubric": ["/runs/main/rubric"],
    "rubric_results": ["/runs/main/rubric/results"],
    "about": ["/about/main"],
    "text": ["/runs/main/text?t=def"],
    "try": ["/runs/main/features/3/try"],
    "without": ["/runs/main/features/3/without"],
    "steer": ["/runs/main/steer?latent=3", "/runs/main/steer?how=pin&latent=3&samples=2"],
    "notes": ["/notes"],
    "study": ["/studies/none"],
    "lists": ["/lists"],
    "list": ["/lists/none"],
    "synthetic": ["/synthetic/main"],
    "pair": ["/pairs/main-jacobian"],
    "decomposition": ["/decompositions/tms-5-2", "/decompositions/main-mlp-0"],
    "component": ["/decompositions/main-mlp-0/components/dense_h_to_4h/3"],
    "doomed": ["/doomed"],
    "monosemanticity": ["/monosemanticity"],
    "task": ["/tasks/copier", "/tasks/copier?place=values+at+S1", "/tasks/copier?way=by+meaning&setting=k%3D4"],
    "probes": ["/runs/main/probes"],
    "verdict": ["/runs/main/verdict"],
    "model_features": ["/runs/main/model-features"],
    "universality": ["/runs/main/universality", "/runs/main/universality?order=least&latent=3"],
    "relatives": ["/runs/main/relatives", "/runs/main/relatives?latent=3&seed=3"],
    "splitting": ["/runs/main/splitting", "/runs/main/splitting?level=twin&latent=3", "/runs/main/splitting?find=def"],
    "graph": ["/graphs/prompt", "/graphs/prompt?at=0_-1_9&pin=0_-1_9,0_-1_8&group=late:0_-1_9,0_-1_7"],
    "errors": ["/nothing", "/runs/main/features/999999", "/runs/nobody/features"],
}
"""Addresses of every page, and of errors."""


def test_every_page_has_an_address_here():
    assert set(PAGES.names()) - FILES == ADDRESSES.keys() - {"errors"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ADDRESSES)
def test_a_page_is_for_everybody(browser, address, name, scheme):
    tab = browser.new_page(color_scheme=scheme, bypass_csp=True)  # for axe-core alone; that pages keep it is tested
    complaints, hosts = [], set()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    for where in ADDRESSES[name]:
        tab.set_viewport_size({"width": 1360, "height": 900})
        tab.goto(address + where)
        assert tab.locator("h1").count() == 1, where
        assert tab.locator("main, header, footer").count() == 3, where
        if AXE.is_file():
            assert _serious(tab) == [], where
        tab.set_viewport_size({"width": 400, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400, where
    assert [one for one in complaints if "status of 4" not in one and "status of 503" not in one] == []
    assert hosts == {address.removeprefix("http://")}
    tab.close()


def _serious(tab) -> list[str]:
    """What axe-core finds that is serious or worse, a line each."""
    tab.add_script_tag(path=AXE)
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)")
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_axe_is_there_where_it_must_be():
    """Continuous integration names it: there its absence is no reason to leave it out."""
    if "AXE_CORE" not in os.environ and not AXE.is_file():
        pytest.skip(f"{AXE} is absent: npm install --prefix .cache/axe axe-core")
    assert AXE.is_file()


def test_a_key_shows_all_keys(browser, address):
    tab = browser.new_page()
    tab.goto(address + "/runs/main/features/3")
    tab.keyboard.press("?")
    shown = tab.locator("dialog#help")
    assert shown.is_visible() and {"previous", "digits", "copy the address"} <= set(
        shown.locator("dd").all_inner_texts()
    )
    tab.keyboard.press("Escape")
    assert not shown.is_visible()
    tab.keyboard.press("g")
    tab.keyboard.press("f")
    tab.wait_for_url("**/runs/main/features")
    tab.keyboard.press("/")
    tab.keyboard.type("g?h")
    assert tab.locator("#search").input_value() == "g?h" and not tab.locator("dialog#help").count()
    tab.close()


def test_a_table_that_goes_on_says_so(browser, address):
    """At the side on which something is out of sight there is a shadow, and none at the other."""
    tab = browser.new_page(viewport={"width": 400, "height": 800})
    tab.goto(address + "/")
    box = tab.locator(".scroll").first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    assert box.evaluate("box => getComputedStyle(box).backgroundAttachment") == "local, local, scroll, scroll"
    tab.close()
