"""Words that tell a concept, each of them in sentences by itself: whoever splits them into two halves has two sets of
texts that share no word that gives the label away."""

from collections.abc import Mapping


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES: Mapping[str, tuple[str, ...]] = {
    "female": _words(
        "Mary Anna Linda Susan Karen Lisa Emma Sarah Laura Julia Alice Helen Maria Diana Rachel Nancy Betty Sandra"
        " Carol Amanda Emily Sophia Olivia Hannah"
    ),
    "male": _words(
        "John Peter Robert Michael David James Thomas Paul Mark George Edward Henry Frank Daniel Steven Kevin Brian"
        " Richard Charles William Andrew Joseph Matthew Anthony"
    ),
}
"""First names, by the gender that they are mostly of."""

FIELDS: Mapping[str, tuple[str, ...]] = {
    "medicine": _words(
        "surgery vaccine patient hospital disease doctor nurse clinic infection diagnosis therapy medicine fever"
        " symptom virus cancer"
    ),
    "law": _words(
        "judge lawyer court trial jury verdict crime prison contract lawsuit attorney justice evidence witness sentence"
        " legislation"
    ),
    "music": _words(
        "guitar piano violin song concert melody orchestra album singer drummer rhythm jazz opera symphony choir band"
    ),
    "cooking": _words(
        "soup sauce recipe bread butter cheese oven kitchen dinner salad chicken pepper garlic pasta dessert cake"
    ),
    "sport": _words(
        "football tennis goal match coach stadium championship basketball league athlete referee tournament hockey"
        " soccer baseball medal"
    ),
}
"""What people talk about."""

JUDGEMENTS: Mapping[str, tuple[str, ...]] = {
    "positive": _words(
        "wonderful excellent great amazing fantastic brilliant beautiful perfect superb delightful charming lovely"
        " outstanding impressive pleasant splendid"
    ),
    "negative": _words(
        "terrible awful horrible bad dreadful disgusting boring poor ugly disappointing worthless miserable annoying"
        " unpleasant ridiculous pathetic"
    ),
}
"""What is said of things."""

THINGS: Mapping[str, tuple[str, ...]] = {
    "story": _words(
        "movie film novel book play story comedy drama documentary poem magazine show episode script chapter series"
    ),
    "place": _words(
        "hotel beach island city village park museum room garden street harbor resort apartment mountain valley castle"
    ),
}
"""What is judged."""

NOUNS: Mapping[str, tuple[str, ...]] = {
    "living": _words(
        "dog cat horse bird cow teacher farmer soldier driver singer painter student worker sailor king queen lion"
        " tiger rabbit"
    ),
    "thing": _words(
        "car table chair bottle lamp book door window stone box cup clock mirror hammer wheel bell ladder bucket"
        " blanket engine"
    ),
}
"""Nouns whose plural has an `s`."""

VERBS: Mapping[str, str] = {
    "see": "saw",
    "find": "found",
    "take": "took",
    "sell": "sold",
    "build": "built",
    "break": "broke",
    "bring": "brought",
    "buy": "bought",
    "draw": "drew",
    "hide": "hid",
    "hold": "held",
    "keep": "kept",
    "leave": "left",
    "lose": "lost",
    "choose": "chose",
    "steal": "stole",
    "use": "used",
    "open": "opened",
    "clean": "cleaned",
    "paint": "painted",
    "repair": "repaired",
    "carry": "carried",
    "follow": "followed",
    "watch": "watched",
}
"""Verbs in the present, as they stand behind `they`, and in the past."""
