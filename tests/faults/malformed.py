"""Malformed inputs without end: whole ones with something wrong, the same ones for the same seed."""

import copy
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import yaml

from agent.errors import LitewatchError

T = TypeVar("T")

HUNG_S = 30
"""Wall time after which an input counts as a hang whatever the processor time says."""

TOKENS: tuple[bytes, ...] = (
    b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"{", b"}", b"[", b"]", b'"', b"'",
    b":", b": ", b",", b"\n", b"\r", b"\t", b"- ", b"#", b"&a ", b"*a", b"!!python/object:os.system ",
    b"!!binary ", b"!!timestamp x", b"!!int ''", b"<<: ", b"%YAML 9.9\n", b"---\n", b"...", b"NaN",
    b"Infinity", b"-Infinity", b"1e999", b"1e-999", b"9" * 400, b"-0", b"0x10", b"0o7", b"1_000", b"true",
    b"null", b"~", b"../../etc/passwd", b"/dev/zero", b"%s%n", b"${HOME}", b"A" * 5000, b"[" * 400,
    b"{a: " * 200, b"\xf0\x9f\x92\xa9", b"\xe2\x80\xae", b"PK\x03\x04", b"PK\x05\x06", b"TFL3",
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 255, 256, 65536, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64,
    10**400, 0.0, -0.0, 0.5, -1.5, 1e-320, 1e308, -1e308, "", " ", "\0", "0", "1", "nan", "inf", "-", ".",
    "..", "/", "a/b", "+", "#", "$x", "\ud800", "\u202e", "é" * 300, "x" * 20_000, "cpu", "external",
    "/dev/null", "/proc/self/mem", [], [[]], {}, {"": None}, {"kind": "cpu"}, {"kind": []}, [None] * 50,
    [0] * 3000, {"a": {"b": {"c": {}}}},
)  # fmt: skip


def bend_bytes(data: bytes, chance: Random) -> bytes:
    """A few changes as a bad cable, a bad card, a bad editor or a bad person makes them."""
    bent = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(bent) + 1)
        end = min(len(bent), at + chance.choice((1, 2, 8, 64, 1024)))
        match chance.randrange(8):
            case 0 if at < len(bent):
                bent[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(bent):
                bent[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            case 2:
                del bent[at:end]
            case 3:
                bent[at:at] = chance.choice(TOKENS)
            case 4:
                bent[at:at] = bent[at:end]
            case 5:
                bent[at:end] = chance.choice(TOKENS)
            case 6:
                bent[at:end] = chance.randbytes(end - at)
            case 7 if chance.random() < 0.3:
                del bent[at:]
    return bytes(bent)


def bend_tree(tree: Any, chance: Random) -> Any:
    """``tree`` with a few of its values, keys or branches replaced, removed, repeated or nested."""
    bent = copy.deepcopy(tree)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        places = list(_places(bent))
        if not places:
            return chance.choice(VALUES)
        holder, key = chance.choice(places)
        match chance.randrange(7):
            case 0 | 1 | 2:
                holder[key] = copy.deepcopy(chance.choice(VALUES))
            case 3:
                del holder[key]
            case 4:
                other, name = chance.choice(places)
                holder[key] = copy.deepcopy(other[name]) if name in _keys(other) else None
            case 5:
                for _ in range(chance.choice((1, 3, 100))):
                    holder[key] = [holder[key]] if chance.random() < 0.5 else {"x": holder[key]}
            case 6 if isinstance(holder, dict):
                holder[chance.choice(("", "kind", "x", "é", str(key) + " ", str(key).upper()))] = holder[key]
            case 6:
                holder[key] = _bent_scalar(holder[key], chance)
    return bent


def _bent_scalar(value: Any, chance: Random) -> Any:
    if isinstance(value, bool) or value is None:
        return chance.choice(VALUES)
    if isinstance(value, (int, float)):
        return chance.choice((-value, value + 1, value * 1000, value / 7 if abs(value) < 1e300 else 0, "7"))
    if isinstance(value, str):
        return bend_bytes(value.encode(errors="replace"), chance).decode(errors="replace")
    return chance.choice(VALUES)


def _keys(holder: Any) -> Any:
    return holder if isinstance(holder, dict) else range(len(holder))


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (dict or list, key) of the tree; not deeper than a hundred levels."""
    todo = [(tree, 0)]
    while todo:
        here, depth = todo.pop()
        if depth > 100 or not isinstance(here, (dict, list)):
            continue
        for key in list(here) if isinstance(here, dict) else range(len(here)):
            yield here, key
            todo.append((here[key], depth + 1))


def as_json(tree: Any) -> bytes:
    """JSON as other programs write it: NaN, huge numbers and halves of surrogate pairs included."""
    return json.dumps(tree).encode()


def as_yaml(tree: Any, chance: Random) -> bytes:
    """JSON is YAML too, and quicker to write."""
    if chance.random() < 0.93:
        return as_json(tree)
    return yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogatepass")


@dataclass
class Outcome:
    """What became of the inputs. ``escaped``: anything but an answer or an error of ours."""

    inputs: int = 0
    taken: int = 0
    refused: int = 0
    escaped: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    """Processor time of the slowest input."""
    slowest: int = -1


class HungError(BaseException):
    """An input took ``HUNG_S``; no ``except Exception`` may swallow it."""


@contextmanager
def _watched() -> Iterator[None]:
    def hung(*_: object) -> None:
        raise HungError

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, HUNG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def hammer(count: int, make: Callable[[Random], T], use: Callable[[T], object], *, seed: int = 1) -> Outcome:
    """Give ``use`` so many inputs; number n is ``make(Random(f"{seed} {n}"))``."""
    outcome = Outcome()
    for number in range(count):
        given = make(Random(f"{seed} {number}"))
        outcome.inputs += 1
        started = time.process_time()
        try:
            with _watched():
                use(given)
            outcome.taken += 1
        except LitewatchError as error:
            outcome.refused += 1
            if not str(error).strip():
                outcome.escaped.append(f"input {number}: {type(error).__name__} without a word")
        except (Exception, HungError) as error:
            outcome.escaped.append(f"input {number}: {_where(error)}{error!r:.300}")
        took = time.process_time() - started
        if took > outcome.slowest_s:
            outcome.slowest_s, outcome.slowest = took, number
    return outcome


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}: "
