"""HTML and SVG text that is escaped by construction: only ``element`` makes markup, from texts."""

import unicodedata
from collections.abc import Iterable
from html import escape
from typing import TypeAlias


class Markup(str):
    """Text that is markup already and must not be escaped again."""

    __slots__ = ()


Child: TypeAlias = str | None
Attribute: TypeAlias = str | int | float | bool | None

_EMPTY = frozenset({"br", "col", "hr", "img", "link", "meta"})
_JOINERS = "\u200c\u200d"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def element(tag: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """``<tag …>children</tag>``; children that are not ``Markup`` are escaped, None is left out.

    Attribute names: ``_`` stands for ``-`` (``stroke_width``), a trailing ``_`` is dropped
    (``class_``). None and False leave an attribute out, True gives it no value; floats are written
    with at most two decimals.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _EMPTY:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Markup:
    """One after the other, texts escaped."""
    parts = (child if isinstance(child, Markup) else escaped(child) for child in children if child)
    return Markup("".join(parts))


def escaped(text: str) -> Markup:
    """``text`` as markup, with a replacement character for each that is invisible and could reorder,
    hide or break what stands around it."""
    if text.isascii() and text.isprintable():  # most texts, and the longest: pictures in base64
        return Markup(escape(text))
    return Markup(escape("".join(_visible(char) for char in text)))


def _visible(char: str) -> str:
    hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")
    return _REPLACEMENT if hidden and char not in "\n\t" + _JOINERS else char


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{escaped(text)}"'
