"""One fault to replay: what it does to a picture, and where between camera and model it does it.

Where matters as much as what: a wrong interpolation happens to the whole picture, a swapped channel
to the 8-bit picture that features are computed on, and a wrong normalisation behind it, where
features see nothing and only the model's answers move.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Image, TensorSpec
from agent.preprocess.spec import PreprocessSpec

Draws: TypeAlias = np.random.Generator
ImageFault: TypeAlias = Callable[[Image, Draws], Array]
"""RGB uint8 H×W×3 in and out, of any size; the picture given is never written to."""
Numbers: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Shares of the 8-bit scale (0 … 1, H×W×C) to the real numbers the model is given."""
TensorFault: TypeAlias = Callable[[Array, TensorSpec], Array]
Respecified: TypeAlias = Callable[[PreprocessSpec], PreprocessSpec | None]
"""The spec as somebody got it wrong; None where that mistake cannot be made with this spec."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``family`` is the cause's name in a diagnosis, ``name`` tells implementation and strength.

    In the order in which they act: ``spec`` (another preprocessing), ``picture`` (as decoded, before
    any other step), ``view`` (the model's 8-bit picture, same size out as in), ``numbers`` (in place
    of normalize), ``tensor`` (what is given to the model). None: nothing happens there.
    """

    family: str
    name: str
    spec: Respecified | None = None
    picture: ImageFault | None = None
    view: ImageFault | None = None
    numbers: Numbers | None = None
    tensor: TensorFault | None = None


def mix(first: Fault, second: Fault) -> Fault:
    """Both faults at once, ``first`` before ``second`` where they act at the same place.

    Raises ValueError when both replace the spec or normalize.
    """
    for place in ("spec", "numbers", "tensor"):
        if getattr(first, place) is not None and getattr(second, place) is not None:
            raise ValueError(f"{first.name} and {second.name} both act on {place}")
    return Fault(
        family=f"{first.family}+{second.family}",
        name=f"{first.name} + {second.name}",
        spec=first.spec or second.spec,
        picture=_chained(first.picture, second.picture),
        view=_chained(first.view, second.view),
        numbers=first.numbers or second.numbers,
        tensor=first.tensor or second.tensor,
    )


def _chained(first: ImageFault | None, second: ImageFault | None) -> ImageFault | None:
    if first is None or second is None:
        return first or second
    return lambda image, draws: second(first(image, draws), draws)


def seeded(*names: str) -> Draws:
    """A generator that depends on nothing but ``names``."""
    text = "\0".join(names).encode("utf-8", "surrogateescape")
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def standing(function: ImageFault, *seed: str) -> ImageFault:
    """``function`` drawing the same for every picture, as dirt stays where it is on a lens."""
    return lambda image, _: function(image, seeded(*seed))


def bytes_of(values: Array) -> Image:
    """Rounded and saturated to 8 bits."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def unit(image: Image) -> float:
    """How many pixels one pixel of a 224-pixel picture is here."""
    side: int = min(image.shape[:2])
    return side / 224
