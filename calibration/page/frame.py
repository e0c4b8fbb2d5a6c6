"""The page around a report: one file that asks nothing of the network.

The content security policy allows inline pictures and the one style sheet, by its hash, and nothing
else: no script, no request, no form, no frame.
"""

import base64
import hashlib

from calibration.check_result import Verdict
from calibration.page.markup import Markup, element, join
from calibration.page.style import STYLE
from calibration.page.waterfall import hatch
from calibration.page.words import VERDICTS

_SHAPES: dict[Verdict, tuple[str, str]] = {
    "ok": ("M2 10a8 8 0 1 0 16 0a8 8 0 1 0-16 0Z", "M6 10.4l2.8 2.8L14.2 7"),
    "changed": ("M10 1.6 18.4 10 10 18.4 1.6 10Z", "M10 6v4.6M10 13.2v.6"),
    "harmful": ("M6.5 1.5h7l5 5v7l-5 5h-7l-5-5v-7Z", "M6.8 6.8l6.4 6.4M13.2 6.8l-6.4 6.4"),
}
"""Outline and sign of each verdict: a circle, a diamond, an octagon."""


def page(title: str, *body: Markup) -> str:
    """A whole HTML document."""
    policy = (
        f"default-src 'none'; style-src '{_style_hash()}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    footer = element(
        "footer",
        "Made by Litewatch. This file is complete in itself: no script, nothing fetched from the network.",
    )
    content = element("body", hatch(), element("main", *body), footer)
    return "<!DOCTYPE html>\n" + element("html", head, content, lang="en") + "\n"


def badge(verdict: Verdict) -> Markup:
    """The verdict as word, shape and colour: any one of them is enough."""
    outline, sign = _SHAPES[verdict]
    icon = element(
        "svg", element("path", d=outline), element("path", d=sign), viewBox="0 0 20 20", aria_hidden="true"
    )
    return element("span", icon, VERDICTS[verdict], class_=f"verdict {verdict}")


def section(title: str, *content: Markup | str | None, lead: str | None = None, name: str) -> Markup:
    """A part of the page under a heading; ``lead`` explains it in a sentence."""
    heading = element("h2", title, id=name)
    explained = element("p", lead) if lead else None
    return element("section", heading, explained, *content, aria_labelledby=name)


def facts(pairs: list[tuple[str, str | Markup]], *, class_: str = "facts") -> Markup:
    """Names with their values, as many beside each other as the width allows."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in pairs),
        class_=class_,
    )


def with_small(value: str, small: str | None) -> Markup:
    return join([value, element("small", small) if small else None])


def _style_hash() -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
