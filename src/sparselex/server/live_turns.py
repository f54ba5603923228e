"""Whose question comes next: readers take turns, so that one who asks a hundred things cannot stop another."""

import threading
from collections import OrderedDict, deque
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

MOST_OF_READER, MOST_OF_ADDRESS, MOST = 4, 24, 64
"""Questions that may wait: of one reader, of all readers of one address, and in all."""


class Reader(NamedTuple):
    """Who asks."""

    address: str
    """Where from."""

    name: str
    """What tells readers of one address apart: a cookie."""


class Full(Exception):
    """So many questions wait that another would be unfair; its text says whose."""


class FairTurns(Generic[T]):
    """Questions that wait. Addresses take turns, at each address its readers, and of each reader's questions the first
    comes first: readers are told apart by a cookie, which whoever wants many may throw away."""

    def __init__(self) -> None:
        self._there = threading.Condition()
        self._waiting: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()

    def put(self, reader: Reader, question: T) -> None:
        """Have a question wait. Raises `Full` where too many do."""
        with self._there:
            readers = self._waiting.get(reader.address, OrderedDict())
            mine = readers.get(reader.name, deque())
            if len(mine) >= MOST_OF_READER:
                raise Full(f"{len(mine)} of your questions wait already")
            if sum(map(len, readers.values())) >= MOST_OF_ADDRESS or len(self) >= MOST:
                raise Full("Too many questions wait already")
            self._waiting.setdefault(reader.address, readers).setdefault(reader.name, mine).append(question)
            self._there.notify()

    def take(self) -> T:
        """The next question; waits until there is one."""
        with self._there:
            while not self._waiting:
                self._there.wait()
            address, readers = self._waiting.popitem(last=False)
            name, mine = readers.popitem(last=False)
            question = mine.popleft()
            if mine:
                readers[name] = mine
            if readers:
                self._waiting[address] = readers
            return question

    def remove(self, question: T) -> bool:
        """Have a question wait no more; whether it did."""
        with self._there:
            for address, readers in self._waiting.items():
                for name, mine in readers.items():
                    if question in mine:
                        mine.remove(question)
                        self._forget(address, name)
                        return True
        return False

    def __len__(self) -> int:
        return sum(len(mine) for readers in self._waiting.values() for mine in readers.values())

    def _forget(self, address: str, name: str) -> None:
        readers = self._waiting[address]
        if not readers[name]:
            del readers[name]
        if not readers:
            del self._waiting[address]
