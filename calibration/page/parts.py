"""Parts that the reports of a check and of a diagnosis share: pictures, layers, environment, notes."""

import base64
import binascii
from collections.abc import Sequence

from calibration.check_result import LayerError, LayerView, Picture
from calibration.page.frame import section
from calibration.page.layer_plot import layer_plot, standing_out
from calibration.page.markup import Markup, element, join
from calibration.page.pictures import AMPLIFIED_TO
from calibration.page.words import decibels, flips_title, number, percent, rung_title, short_name

_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_LISTED_LAYERS = 8


def pictures(shown: Sequence[Picture], task: str) -> Markup:
    """The worst flipped inputs: what training fed the model, what this device feeds it, the difference."""
    if not shown:
        return Markup("")
    lead = (
        "What the model was fed in training, what it is fed here, and the difference between the two: black "
        f"where they agree, brightest from {AMPLIFIED_TO} of 256 grey levels apart. One picture alone: the "
        "same input, answered otherwise."
    )
    gallery = element("div", *(_picture(each) for each in shown), class_="gallery")
    return section("Inputs whose answer changed", gallery, lead=lead, name="pictures")


def _picture(shown: Picture) -> Markup:
    sides: tuple[tuple[str, str, str, str | None], ...] = (
        (shown.training, "Training side", f"{shown.name} as in training", shown.was),
        (shown.device, "This device", f"{shown.name} as on this device", shown.now),
        (shown.difference, "Difference", f"Where the two differ in {shown.name}", None),
    )
    if shown.training == shown.device and _kind(shown.training):
        sides = ((shown.training, "The same input", f"{shown.name} as the model sees it", None),)
    truth = None if shown.label is None else join(["; truth: ", shown.label])
    return element(
        "article",
        element("p", join([shown.was, " → ", shown.now]), class_="answers"),
        element(
            "p", join([short_name(shown.name), " on “", rung_title(shown.rung), "”", truth]), class_="name"
        ),
        element("div", *(_side(*side) for side in sides), class_="shots"),
        class_="card",
    )


def _side(data: str, title: str, alternative: str, answer: str | None) -> Markup:
    kind = _kind(data)
    image = (
        element(
            "img",
            src=f"data:{kind};base64,{data}",
            alt=alternative,
            class_="tiny" if kind == "image/png" else None,
        )
        if kind
        else element("p", "no picture", class_="soft")
    )
    return element("figure", image, element("figcaption", title))


def _kind(data: str) -> str | None:
    """The media type of a base64 JPEG or PNG; None for anything else, which is not shown."""
    try:
        head = base64.b64decode(data, validate=True)[:8]
    except (binascii.Error, ValueError):
        return None
    return next((kind for start, kind in _TYPES.items() if head.startswith(start)), None)


def layers(view: LayerView | None) -> Markup:
    """SNR over depth, the culprits in words, the worst layers as a table and all of them folded away."""
    if view is None or not view.layers:
        return Markup("")
    ran = f"Seen with {view.kernels}" + (
        ", as in production."
        if view.production
        else ". These are not the kernels that run the model in production."
    )
    found = element("ul", *(element("li", finding) for finding in view.findings), class_="notes findings")
    plot = element(
        "figure",
        layer_plot(view),
        element(
            "figcaption",
            f"Signal-to-noise ratio of each layer against its float twin, higher is better. {ran}",
        ),
    )
    chosen = standing_out(view, _LISTED_LAYERS)
    few = _layer_table(chosen, "The layers that stand out")
    rest = (
        element("summary", f"All {len(view.layers)} layers"),
        _layer_table(view.layers, "In order of execution"),
    )
    every = element("details", *rest) if len(view.layers) > len(chosen) else None
    lead = "Where the quantized model leaves its float twin, from the first layer to the last."
    body = element("div", found if view.findings else None, plot, class_="card")
    return section("Layers", body, element("div", few, every, class_="card"), lead=lead, name="layers")


def _layer_table(shown: Sequence[LayerError], caption: str) -> Markup:
    head = ("Layer", "SNR", "Cosine", "Saturated", "Range it can hold", "Range seen", "What is wrong")
    numbers = (1, 2, 3)
    columns = (
        element("th", name, scope="col", class_="number" if i in numbers else None)
        for i, name in enumerate(head)
    )
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *columns)),
        element("tbody", *(_layer_row(each) for each in shown)),
    )
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _layer_row(layer: LayerError) -> Markup:
    calibrated = "float" if layer.calibrated is None else _range(layer.calibrated)
    return element(
        "tr",
        element(
            "th",
            f"{layer.depth + 1}. {layer.op}",
            element("br"),
            element("small", layer.name, class_="soft"),
            scope="row",
        ),
        element("td", decibels(layer.snr_db), class_="number"),
        element("td", number(round(layer.cosine, 4)), class_="number"),
        element("td", percent(layer.saturated), class_="number"),
        element("td", calibrated),
        element("td", _range(layer.seen)),
        element("td", layer.culprit),
    )


def _range(ends: tuple[float, float]) -> str:
    return f"{number(ends[0])} to {number(ends[1])}"


def environment(recorded: Sequence[tuple[str, str]], here: Sequence[tuple[str, str]]) -> Markup:
    """What ran when packing beside what ran here, differences marked in words."""
    if not recorded and not here:
        return Markup("")
    then, now = dict(recorded), dict(here)
    names = list(dict.fromkeys([*now, *then]))
    rows = (_environment_row(name, then.get(name), now.get(name), both=bool(recorded)) for name in names)
    head = ("", "When packed", "Here", "") if recorded else ("", "Here")
    columns = (element("th", name, scope="col") if name else element("td") for name in head)
    table = element("table", element("thead", element("tr", *columns)), element("tbody", *rows), class_="env")
    return section("Environment", element("div", table, class_="card"), name="environment")


def _environment_row(name: str, then: str | None, now: str | None, *, both: bool) -> Markup:
    differs = then is not None and now is not None and then != now
    cells = [element("td", now or "–", data_of="Here" if both else None)]
    if both:
        mark = element("td", "≠ differs" if differs else None, class_="mark")
        cells = [element("td", then or "–", data_of="When packed"), *cells, mark]
    return element("tr", element("th", name, scope="row"), *cells, class_="differs" if differs else None)


def notes(said: Sequence[str]) -> Markup:
    if not said:
        return Markup("")
    listed = element("ul", *(element("li", note) for note in said), class_="notes card plain-list")
    return section("Notes", listed, name="notes")


_GLOSSARY = (
    ("Rung", "One step between training and this device, compared with the rung above on the same inputs."),
    (
        "OK, changed, harmful",
        "OK: equal, or within tolerance. Changed: it differs, but no loss of accuracy is proven. Harmful: "
        "accuracy is lost beyond chance, or what the model is fed or answers is plainly something else.",
    ),
    (
        "Drawn blindly, close calls",
        "Accuracy, points and changed answers come from inputs drawn blindly. Close calls were chosen "
        "because they flip first: they show that something changed, never how much it costs.",
    ),
    (
        "Points",
        "Percentage points of accuracy against the rung above; a minus is a loss. Intervals are 90 %.",
    ),
    (
        "p",
        "How likely such a difference is by chance alone: McNemar’s exact test on paired answers, corrected "
        "for the number of rungs by Holm’s method.",
    ),
    (
        "Output error, SNR",
        "How far the output numbers are apart; the signal-to-noise ratio in decibels is high where they "
        "hardly differ.",
    ),
)


def glossary(task: str) -> Markup:
    """How to read the report, folded away on a screen."""
    pairs = [*_GLOSSARY]
    if task != "classification":
        pairs.insert(3, (flips_title(task), _UNITS.get(task, "")))
    terms = (part for name, text in pairs for part in (element("dt", name), element("dd", text)))
    listed = element("dl", *terms, class_="read")
    return element(
        "section", element("details", element("summary", "How to read this report"), listed, class_="guide")
    )


_UNITS = {
    "detection": "The unit is the box: two match when they have the same class and overlap by at least half "
    "(intersection over union).",
    "regression": "A value counts as right when its error is within the tolerance recorded with the model.",
}
