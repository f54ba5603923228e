"""Proxies score planted strings as computed by hand: spans, classes of characters, scripts, examples, split tokens."""

import time
from collections import Counter
from importlib.metadata import EntryPoint, EntryPoints
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.atlas.proxies.classes import CharactersProxy
from sparselex.atlas.proxies.examples import ExamplesProxy, adapted, counted_threes, threes
from sparselex.atlas.proxies.proxy import Background, Proxy
from sparselex.atlas.proxies.scripts import ScriptProxy, scripts_in
from sparselex.atlas.proxies.shipped import PROXIES, proxy_of
from sparselex.atlas.proxies.spans import FunctionProxy, RegexProxy, WordsProxy
from sparselex.atlas.proxies.text import SplitText, best_windows
from sparselex.base.errors import UserError
from tests.support.spelled import SpelledCorpus

ACCENTED = [b"a", b"\xc3", b"\xa9\xe2", b"\x82\xac", b"\xf0\x9f", b"\x98\x80b"]
"""`aé€😀b`, each character of several bytes cut."""


def text_of(documents, split="train", n_ctx=8) -> SplitText:
    corpus = SpelledCorpus({split: documents}, n_ctx)
    return SplitText(corpus, (corpus.documents >= 0).reshape(-1), split)


def background(text: SplitText) -> Background:
    return Background(np.bincount(text.tokens, minlength=len(text.token_bytes)))


def scores(proxy, documents, split="train", n_ctx=8):
    text = text_of(documents, split, n_ctx)
    return proxy.learn(text, background(text)).scores(text)


@pytest.mark.parametrize(
    ("pattern", "inside"),
    [
        ("a", [1, 0, 0, 0, 0, 0]),
        ("é", [0, 1, 1, 0, 0, 0]),
        ("€", [0, 0, 1, 1, 0, 0]),
        ("😀", [0, 0, 0, 0, 1, 1]),
        ("b", [0, 0, 0, 0, 0, 1]),
        ("é€", [0, 1, 1, 1, 0, 0]),
        (r"\w", [1, 1, 1, 0, 0, 1]),
        ("(?<=a)", [0, 0, 0, 0, 0, 0]),
    ],
)
def test_a_character_of_several_tokens_puts_all_of_them_inside(pattern, inside):
    assert scores(RegexProxy(pattern=pattern), [ACCENTED]).tolist() == inside


def test_bytes_that_are_no_text_are_each_a_character_of_their_own():
    broken = [b"\xff", b"x\xfe", b"\xc3", b"y"]  # the beginning of a character that does not go on
    assert scores(RegexProxy(pattern="x"), [broken]).tolist() == [0, 1, 0, 0]
    assert scores(RegexProxy(pattern="y"), [broken]).tolist() == [0, 0, 0, 1]
    assert scores(RegexProxy(pattern="."), [broken]).tolist() == [1, 1, 1, 1]


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=20), st.data())
def test_tokens_inside_are_those_of_which_a_byte_lies_in_the_span(words, data):
    whole = words.encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=8)) - {len(whole)})
    tokens = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    text = text_of([[b"before"], tokens, [b"behind"]])
    shown = text.texts[1]
    begin = data.draw(st.integers(0, len(shown)))
    end = data.draw(st.integers(begin, len(shown)))
    found = text.inside(lambda document, _: [(begin, end)] if document == 1 else [])
    first, last = (len(shown[:at].encode("utf-8", "surrogateescape")) for at in (begin, end))
    ends = np.cumsum([len(token) for token in tokens])
    by_hand = [
        begins < last and first < ends for begins, ends in zip(ends - [len(t) for t in tokens], ends, strict=True)
    ]
    assert found.tolist() == [False, *(by_hand if first < last else [False] * len(tokens)), False]


def test_only_the_group_that_says_so_is_inside():
    document = [b"if", b" x", b":", b"\n", b"    ", b"y"]
    proxy = RegexProxy(pattern=r":\n(?P<inside> +)")
    assert scores(proxy, [document]).tolist() == [0, 0, 0, 0, 1, 0]


def test_words_stand_by_themselves_and_are_no_pattern():
    document = [b"a.b", b" self", b" myself", b" selfish", b"\nself", b".x", b" axb"]
    assert scores(WordsProxy(of=("self", "a.b")), [document]).tolist() == [1, 1, 0, 0, 1, 0, 0]


def test_lines_are_told_and_documents_are_not_joined():
    documents = [[b"import", b" x"], [b"y", b"\n", b"import"]]
    assert scores(RegexProxy(pattern="^import"), documents).tolist() == [1, 0, 0, 0, 1]
    assert scores(RegexProxy(pattern=r"xy"), documents).tolist() == [0] * 5


def test_a_class_of_characters_is_scored_as_by_hand():
    document = [b"z", b"ab", b"a", b"z", b"a", b"a"]
    # Met once more each: z three times, ab twice, a four times, and once the BOS, which is a token too.
    a, ab, z = log(1 / 2) - log(4 / 10), 2 * log(1 / 2) - log(2 / 10), log(1e-10) - log(3 / 10)
    by_hand = [z, max(ab, ab + z), max(a, a + ab), max(z, z + a, z + a + ab), max(a, a + z), max(a, a + a)]
    found = scores(CharactersProxy(alphabet="ab"), [document])
    np.testing.assert_allclose(found, np.maximum(by_hand, log(1e-10)), rtol=1e-12)


def test_a_window_of_two_tokens_or_more_begins_in_the_same_row_and_document():
    documents = [[b"a", b"a", b"a"], [b"a"]]
    one, two = (scores(CharactersProxy(alphabet="ab", least_tokens=n), documents, n_ctx=3) for n in (1, 2))
    each = log(1 / 2) - log(5 / 6)  # four of a, one more of each, and the BOS
    np.testing.assert_allclose(one, np.maximum([each] * 4, log(1e-10)))
    # Rows hold two tokens: the third begins a row, the fourth a document.
    np.testing.assert_allclose(two, [log(1e-10), 2 * each, log(1e-10), log(1e-10)])


def test_the_best_window_is_that_of_a_slow_search():
    rng = np.random.default_rng(0)
    values, before = rng.standard_normal(200), np.arange(200) % 13
    for least in (1, 2, 4):
        slow = [
            max((values[i - n + 1 : i + 1].sum() for n in range(least, before[i] + 2)), default=-np.inf)
            for i in range(200)
        ]
        np.testing.assert_allclose(best_windows(values, before, least), slow)


def test_a_script_is_scored_by_bayes_as_by_hand():
    alpha, beta, lead, trail = b"\xce\xb1", b"\xce\xb2", b"\xce", b"\xb1"
    # alpha whole; alpha cut, twice; a Latin letter that ends in the same byte as alpha; text; a blank with beta.
    document = [alpha, b"x", lead, trail, lead, trail, b"\xc3", trail, b" " + beta]
    text = text_of([document], n_ctx=16)
    learned = ScriptProxy(script="Greek").learn(text, background(text))
    # The lead byte is of Greek wherever it stands, the trail in two of three places, that of the letter nowhere.
    likely = {alpha: 1.0, lead: 1.0, trail: 2 / 3, b"\xc3": 1e-10, b"x": 1e-10, b" " + beta: 1e-10}
    base = sum(likely[token] for token in document) / len(document)
    assert learned.base == pytest.approx(base)
    # The trail that ends alpha is as sure as a whole one; that which ends the letter is as likely as it is on average.
    by_hand = [1, 1e-10, 1, 1, 1, 1, 1e-10, 2 / 3, 1e-10]
    np.testing.assert_allclose(learned.scores(text), [log(one) - log(base) for one in by_hand])


def test_a_character_that_a_row_cuts_is_not_completed():
    document = [b"x", b"\xce", b"\xb1"]
    found = scores(ScriptProxy(script="Greek"), [document], n_ctx=3)
    whole = scores(ScriptProxy(script="Greek"), [document], n_ctx=4)
    np.testing.assert_allclose(found, whole)  # both parts are of Greek wherever they stand
    document = [b"x", b"\xce", b"\xb1", b"\xc3", b"\xb1"]
    cut, joined = (scores(ScriptProxy(script="Greek"), [document], n_ctx=n) for n in (3, 8))
    assert cut[2] == pytest.approx(joined[2] + log(1 / 2)) and joined[4] == pytest.approx(joined[2] + log(1 / 2))


def test_scripts_that_occur_are_counted_by_their_tokens():
    text = text_of([["αβγ".encode(), b" x", "д".encode()], ["漢".encode()[:2], "漢".encode()[2:], "é".encode()]])
    assert scripts_in(text) == {"Cyrillic": 1, "Greek": 1, "Han": 2}


def slow_ratio(corpus: bytes, examples: bytes, three: bytes) -> float:
    """How much likelier the last of three bytes is in examples, by a slow reading of all that stands in both."""

    def mixed(data: bytes, history: bytes, shorter: np.ndarray) -> np.ndarray:
        met = Counter(data[i] for i in range(2, len(data)) if data[i - len(history) : i] == history)
        counts = np.array([met[byte] for byte in range(256)])
        return (counts + len(met) * shorter) / (counts.sum() + len(met)) if met else shorter

    base, ratio = np.full(256, 1 / 256), np.ones(256)
    for history in (b"", three[1:2], three[:2]):
        base = mixed(b"\n\n" + corpus, history, base)
        turned = base * ratio / (base * ratio).sum()
        ratio = mixed(b"\n\n" + examples, history, turned) / base
    return float(ratio[three[2]])


def test_bytes_are_as_likely_as_a_slow_model_says():
    corpus, given = "the cat sat on the mat, é 0x1f".encode(), b"0x00, 0x1a, the"
    table = adapted(counted_threes(corpus), counted_threes(given))
    for three in (b"the", b"cat", b"0x1", b", 0", b" sx", b"q\x00q", b"\xc3\xa9 ", b"\n\n0"):
        ratio = slow_ratio(corpus, given, three)
        assert table[threes(three)[2]] == pytest.approx(log(ratio), rel=1e-4, abs=1e-5), three


def test_what_examples_say_nothing_of_is_no_evidence():
    """And what is rare in both speaks for neither."""
    corpus = counted_threes(b"the cat sat on the mat and that was that " * 20 + b"\xff")
    table = adapted(corpus, counted_threes(b"the cat sat on the mat and that was that " * 20))
    assert np.abs(table[threes(b"the cat sat on")[2:]]).max() < 0.1
    assert table[threes(b"zz\xff")[2]] < 0.5


def test_examples_are_told_by_the_last_tokens():
    corpus, given = [b"the cat ", b"sat on ", b"0x1f, 0x2e", b", the mat"], "0x00, 0x1a, 0x2b"
    text = text_of([corpus])
    learned = ExamplesProxy(texts=(given,), n_tokens=2).learn(text, background(text))
    ratios, ends = learned.table[threes(b"".join(corpus))], np.cumsum([len(token) for token in corpus])
    own = [ratios[end - len(token) : end].sum() for end, token in zip(ends, corpus, strict=True)]
    by_hand = np.array([own[0], own[0] + own[1], own[1] + own[2], own[2] + own[3]]) + log(0.01 / 0.99)
    np.testing.assert_allclose(learned.scores(text), by_hand, rtol=1e-4, atol=1e-4)


def test_text_like_the_examples_is_inside_and_other_text_is_not():
    words = [b"The", b" next", b" of", b" these", b" lines", b" says", b" what", b" is", b" there", b".\n"]
    corpus = SpelledCorpus({"train": [words] * 20, "test": [words, [b"0x1f", b",", b" 0x", b"3a", b",", b" 0x7b"]]}, 16)
    text = {split: SplitText(corpus, (corpus.documents >= 0).reshape(-1), split) for split in ("train", "test")}
    proxy = ExamplesProxy(texts=("0x00, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f, 0x7a, 0x8b",))
    found = proxy.learn(text["train"], background(text["train"])).scores(text["test"])
    assert (found > 0).tolist() == [False] * 10 + [True] * 6


def test_a_persons_function_gives_spans_of_characters():
    documents = [["é".encode(), b" 12", b" x", b"34"]]
    found = scores(FunctionProxy(address="tests.atlas.proxies.test_scores:digits"), documents)
    assert found.tolist() == [0, 1, 0, 1]


def digits(words: str):
    return [(np.int64(at), at + 1) for at, sign in enumerate(words) if sign.isdigit()]


def breaks(words: str):
    return [(0, len(words) + 1)]


def fails(words: str):
    raise ValueError("no spans today")


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        (RegexProxy(pattern="(a"), "is no regular expression: missing \\)"),
        (RegexProxy(pattern=r"\p{Greeek}"), "is no regular expression"),
        (ScriptProxy(script="Greec"), "did you mean Greek"),
        (WordsProxy(of=("a", " ")), "empty word"),
        (FunctionProxy(address="nothing"), "is no address"),
        (FunctionProxy(address="no_such_module:f"), "cannot be had: ModuleNotFoundError"),
        (FunctionProxy(address="math:pi"), "cannot be called"),
        (FunctionProxy(address="tests.atlas.proxies.test_scores:breaks"), "for a text of 1 characters"),
        (FunctionProxy(address="tests.atlas.proxies.test_scores:fails"), "ValueError: no spans today"),
        (ExamplesProxy(texts=("abc",)), "3 bytes long"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value.kind,
)
def test_what_cannot_be_followed_is_told(proxy, said):
    with pytest.raises(UserError, match=said):
        scores(proxy, [[b"a"]])


def test_an_expression_without_end_is_ended_and_the_document_named():
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"document 1.*seconds were over"):
        scores(RegexProxy(pattern="^(a|aa)+$", time_limit_s=0.2), [[b"b"], [b"a" * 60 + b"!"]])
    assert time.monotonic() - begun < 10


def test_every_shipped_proxy_is_one_and_comes_back_from_its_values():
    for name, proxy in PROXIES.items():
        assert isinstance(proxy, Proxy) and proxy.edges[0] == 0, name
        assert type(proxy).parse(proxy.to_json()) == proxy, name
    assert proxy_of("script-greek") == ScriptProxy(script="Greek")
    with pytest.raises(UserError, match="did you mean urls"):
        proxy_of("url")


TODO = RegexProxy(pattern=r"\bTODO\b", said="tokens of what is left to be done")


def test_a_package_adds_one_by_an_entry_point(monkeypatch):
    address = "tests.atlas.proxies.test_scores:TODO"
    entry = EntryPoint(name="todo", value=address, group="sparselex.proxy")
    monkeypatch.setattr("sparselex.base.registry.entry_points", lambda group: EntryPoints([entry]).select(group=group))
    assert proxy_of("todo").said == TODO.said and "todo" in PROXIES.names()


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("hexadecimal-numbers", b"x = 0x1F", b"0xylophone"),
        ("string-escapes", b"'\\x0b'", b"a/b"),
        ("docstring-english", b'    """Say so."""', b'x = """Say so."""'),
        ("comments", b"x  # why", b"a#b"),
        ("indentation-after-colon", b"if x:\n    y", b"x\n    y"),
        ("import-lines", b"from a.b import c", b"# important"),
        ("urls", b"see https://x.org/y", b"http is"),
        ("dunder-names", b"x.__init__()", b"_private_"),
        ("camel-case", b"class OrderedDict", b"class Dict"),
        ("test-assertions", b"self.assertEqual(a", b"assertive"),
        ("unicode-names", b"LATIN SMALL LETTER A", b"TWO WORDS"),
        ("constants", b"MAX_SIZE = 3", b"MAX = 3"),
        ("decorators", b"@property\n", b"a @ b"),
        ("function-names", b"def names(", b"define x"),
        ("class-names", b"class Name:", b"a class of"),
        ("exceptions", b"raise ValueError", b"raise Value"),
        ("numbers", b"x = 12.5", b"x1 = y"),
        ("format-fields", b"'%(name)s'", b"50 % of"),
        ("doctest-prompts", b">>> f()", b"a >> b"),
        ("keyword-arguments", b"f(key=1)", b"f(key == 1)"),
        ("blank-lines", b"x\n\ny", b"x\ny"),
        ("closing-brackets", b"f(g(x))", b"f(x)"),
        ("accented-latin", "né".encode(), "αx".encode()),
    ],
)
def test_what_is_shipped_finds_what_it_says(name, inside, outside):
    assert scores(proxy_of(name), [[inside], [outside]]).tolist() == [1, 0]
