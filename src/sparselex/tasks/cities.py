"""Cities with attributes, and questions about these: what a model must know by itself."""

from collections.abc import Mapping
from typing import NamedTuple


class City(NamedTuple):
    """A city and what is asked of it."""

    name: str
    country: str
    continent: str
    language: str

    def value(self, attribute: str) -> str:
        """What the answer to a question is."""
        found: str = getattr(self, attribute)
        return found


PREFIX = "We talked about the city of {city}"
"""How every question begins, so that what a model has at the city's last token is the same in all of them."""

QUESTIONS: Mapping[str, str] = {
    "country": ". It is a city in the country of",
    "continent": ". It is located on the continent of",
    "language": ". The official language there is",
}
"""What is asked behind it, by attribute."""

_FACTS = """
France Europe French: Paris Lyon Marseille Bordeaux Toulouse
Germany Europe German: Berlin Munich Hamburg Frankfurt Cologne Dresden Stuttgart
Italy Europe Italian: Rome Milan Naples Venice Florence Turin
Spain Europe Spanish: Madrid Barcelona Seville Valencia Bilbao
Russia Europe Russian: Moscow
Poland Europe Polish: Warsaw Krakow
Greece Europe Greek: Athens
Sweden Europe Swedish: Stockholm Gothenburg
Portugal Europe Portuguese: Lisbon Porto
Japan Asia Japanese: Tokyo Kyoto Osaka Nagoya Hiroshima
China Asia Chinese: Beijing Shanghai Guangzhou Shenzhen Wuhan
Korea Asia Korean: Seoul Busan
Thailand Asia Thai: Bangkok
Vietnam Asia Vietnamese: Hanoi
Egypt Africa Arabic: Cairo Alexandria
Morocco Africa Arabic: Casablanca Marrakesh
Kenya Africa Swahili: Nairobi Mombasa
Nigeria Africa English: Lagos Abuja
"""


def cities() -> list[City]:
    """All of them, those of one country together."""
    found = list[City]()
    for line in _FACTS.strip().splitlines():
        facts, _, names = line.partition(":")
        found += [City(name, *facts.split()) for name in names.split()]
    return found
