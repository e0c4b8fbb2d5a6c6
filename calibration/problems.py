"""Everything wrong with a request, collected while looking further."""

from collections.abc import Callable
from typing import TypeVar

from agent.errors import DelegateError, InputError

T = TypeVar("T")


class Problems:
    def __init__(self) -> None:
        self._found: list[str] = []

    @property
    def found(self) -> tuple[str, ...]:
        """In the order they were met, each once."""
        return tuple(dict.fromkeys(self._found))

    def add(self, problem: str) -> None:
        self._found.append(problem)

    def attempt(self, call: Callable[[], T]) -> T | None:
        """What ``call`` returns, or None and its problems kept."""
        try:
            return call()
        except InputError as error:
            self._found += error.problems
        except DelegateError as error:
            self._found.append(str(error))
        return None
