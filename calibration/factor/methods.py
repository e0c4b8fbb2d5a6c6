"""The two things a resize method decides: its interpolation kernel, and whether it antialiases."""

from typing import Final, Literal, TypeAlias

from agent.preprocess.resize import Method

Kernel: TypeAlias = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_MADE_OF: Final[dict[Method, tuple[Kernel, bool]]] = {
    "nearest": ("nearest", False),
    "linear": ("bilinear", False),
    "linear_exact": ("bilinear", False),
    "tf_bilinear": ("bilinear", False),
    "cubic": ("bicubic", False),
    "lanczos4": ("lanczos", False),
    "area": ("bilinear", True),
    "pillow_bilinear": ("bilinear", True),
    "pillow_bicubic": ("bicubic", True),
    "pillow13_bilinear": ("bilinear", True),
    "pillow13_bicubic": ("bicubic", True),
}
"""OpenCV's ``area`` averages when it shrinks and interpolates linearly when it enlarges."""
_PLAIN: Final[dict[Kernel, Method]] = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}
_ANTIALIASED: Final[dict[Kernel, Method]] = {"bilinear": "pillow_bilinear", "bicubic": "pillow_bicubic"}


def separable(trained: Method, deployed: Method) -> bool:
    """Whether kernel and antialiasing differ both, and each can be changed without the other."""
    (kernel, smooth), (other, also) = _MADE_OF[trained], _MADE_OF[deployed]
    if kernel == other or smooth == also:
        return False
    return all(_composed(*mixed, trained) is not None for mixed in ((kernel, also), (other, smooth)))


def only_antialias(trained: Method, deployed: Method) -> bool:
    """Whether the two differ in antialiasing and in nothing else."""
    (kernel, smooth), (other, also) = _MADE_OF[trained], _MADE_OF[deployed]
    return kernel == other and smooth != also


def between(kernel: Method, antialias: Method) -> Method:
    """The method with the kernel of one and the antialiasing of the other (see ``separable``)."""
    if _MADE_OF[kernel][1] == _MADE_OF[antialias][1]:
        return kernel
    if _MADE_OF[kernel][0] == _MADE_OF[antialias][0]:
        return antialias
    made = _composed(_MADE_OF[kernel][0], _MADE_OF[antialias][1], antialias)
    assert made is not None  # asked only where separable() said so
    return made


def _composed(kernel: Kernel, antialias: bool, like: Method) -> Method | None:
    if not antialias:
        return _PLAIN.get(kernel)
    if like.startswith("pillow13") and kernel in _ANTIALIASED:
        return "pillow13_bilinear" if kernel == "bilinear" else "pillow13_bicubic"
    return _ANTIALIASED.get(kernel)
