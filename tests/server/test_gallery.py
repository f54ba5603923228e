"""A gallery is one file: chosen features beside random ones, nothing loaded, text never markup."""

import re

import pytest

from sparselex.base.errors import UserError
from sparselex.server.gallery import gallery
from sparselex.server.whole import whole_gallery
from tests.support.command import done, sparselex


def numbers(html: str) -> list[int]:
    return [int(found) for found in re.findall(r'id="feature-(\d+)"', html)]


def test_chosen_features_stand_beside_a_random_sample(workspace, small_index):
    html = gallery(workspace, "main", [17, 3, 17], seed=4)
    found = numbers(html)
    assert found[:2] == [17, 3] and len(found) == 12 == len(set(found))
    alive = set(small_index.table["n_active"].nonzero()[0].tolist())
    assert set(found[2:]) <= alive
    assert numbers(gallery(workspace, "main", [17, 3], seed=4)) == found
    assert numbers(gallery(workspace, "main", [17, 3], seed=5))[2:] != found[2:]
    assert numbers(gallery(workspace, "main", [9], n_random=0)) == [9]
    assert "drawn at random (seed 4)" in html and "Chosen" in html


def test_it_loads_nothing_and_text_is_no_markup(browser, workspace, small_index, tmp_path):
    """In a real browser, from the disk: no request, no script, no complaint, no sideways scroll."""
    path = tmp_path / "gallery.html"
    path.write_text(gallery(workspace, "main", list(range(small_index.d_sae))[:40], n_random=5), encoding="utf-8")
    for scheme, width in (("light", 1280), ("dark", 400)):
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        asked, complaints = [], []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("console", lambda message, complaints=complaints: complaints.append(message.text))
        page.goto(path.as_uri())
        assert asked == [path.as_uri()] and complaints == []
        assert page.locator("script, link, img, iframe, form").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 600) == (scheme == "light")
        page.close()


def test_a_whole_dictionary_is_found_and_opened_in_one_file(browser, workspace, small_index, tmp_path):
    """From the disk, without a request: the list, the search, and a feature by its address; text is no markup."""
    path = tmp_path / "whole.html"
    path.write_text(whole_gallery(workspace, "main", title="<b>all</b>"), encoding="utf-8")
    page = browser.new_page(viewport={"width": 400, "height": 900})
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{path.as_uri()}#feature-17")
    assert page.locator("#shown h2").inner_text().startswith("Feature 17")
    assert page.locator("#rows tr").count() == small_index.d_sae and page.locator("h1").inner_text() == "<b>all</b>"
    page.fill("#search", "17")
    assert "of 256 features" in page.locator("#found").inner_text()
    assert 0 < page.locator("#rows tr:visible").count() < 256
    page.fill("#search", "no such words")
    assert page.locator("#rows tr:visible").count() == 0
    page.fill("#search", "")
    page.locator("#rows a").nth(3).click()
    assert page.locator("#shown h2").inner_text().startswith("Feature 3")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert {one.partition("#")[0] for one in asked} == {path.as_uri()} and complaints == []
    assert page.locator("main script, link, img, iframe").count() == 0
    page.close()


def test_a_file_that_would_be_too_large_is_refused_with_its_size(workspace, monkeypatch):
    monkeypatch.setattr("sparselex.server.whole.LARGEST", 500_000)
    with pytest.raises(UserError, match=r"All 256 features would be a file of about \d+ MB"):
        whole_gallery(workspace, "main")


def test_what_is_no_gallery_is_refused(workspace, tmp_path):
    for latents, options in (([10**6], {}), ([1], {"n_random": 10**6})):
        with pytest.raises(UserError):
            gallery(workspace, "main", latents, **options)
    with pytest.raises(UserError, match="nobody"):
        gallery(workspace, "nobody", [1])


@pytest.mark.slow
def test_the_command_writes_it_once(workspace, tmp_path):
    to = tmp_path / "gallery.html"
    said = done("gallery", workspace.path, to, "--latent", 5, "--random", 2, "--title", "<b>mine</b>")
    assert str(to) in said.out
    html = to.read_text(encoding="utf-8")
    assert numbers(html)[0] == 5 and len(numbers(html)) == 3 and "&lt;b&gt;mine" in html
    again = sparselex("gallery", workspace.path, to, "--latent", 5)
    assert again.code == 2 and "--replace" in again.err and to.read_text(encoding="utf-8") == html
    assert sparselex("gallery", workspace.path, tmp_path / "no" / "such" / "x.html").code == 2
