"""A result as one self-contained HTML file: for the one who decides and for the one who repairs.

Pure: results in, text out; the same result always gives the same text. Everything that stands in a
result is taken for foreign and escaped.
"""

from calibration.check_result import CheckResult, KernelFamily, Rung
from calibration.diagnosis_result import DiagnosisResult
from calibration.page.factor_bars import factor_bars
from calibration.page.frame import badge, facts, page, section, with_small
from calibration.page.markup import Markup, element, join
from calibration.page.parts import environment, glossary, layers, notes, pictures
from calibration.page.waterfall import waterfall
from calibration.page.words import (
    ORIGIN_TITLES,
    ORIGINS,
    VERDICTS,
    accuracy_text,
    blamed_rung,
    cause_title,
    check_headline,
    evidence,
    flips_text,
    flips_title,
    golden_size,
    headline,
    not_proven,
    output_error,
    percent,
    percent_interval,
    points_text,
    points_with_interval,
    probability,
    rung_explained,
    rung_title,
    share_text,
)


def html(result: CheckResult) -> str:
    """The report of a check."""
    return page(
        f"{VERDICTS[result.verdict]}: {result.bundle}",
        _head(result),
        _ladder(result),
        _rungs(result),
        pictures(result.pictures, result.task),
        layers(result.layers),
        _golden(result),
        environment(result.recorded, result.environment),
        notes(result.notes),
        glossary(result.task),
    )


def html_diagnosis(result: DiagnosisResult) -> str:
    """The report of a diagnosis."""
    return page(
        f"Diagnosis: {result.bundle}",
        _diagnosis_head(result),
        factor_bars(result),
        layers(result.layers),
        environment((), result.environment),
        notes(result.notes),
    )


def _head(result: CheckResult) -> Markup:
    return element(
        "header",
        element("p", "Accuracy check of ", element("b", result.bundle), class_="over"),
        badge(result.verdict),
        *_headline(*check_headline(result)),
        facts(_key_figures(result), class_="facts key card"),
    )


def _headline(first: str, rest: str) -> tuple[Markup, Markup | None]:
    return element("h1", first), element("p", rest, class_="lead") if rest else None


def _key_figures(result: CheckResult) -> list[tuple[str, str | Markup]]:
    said: list[tuple[str, str | Markup]] = []
    known = [rung for rung in result.rungs if rung.accuracy is not None]
    if len(known) > 1 and known[0].accuracy is not None and known[-1].accuracy is not None:
        ends = f"{percent(known[0].accuracy)} → {percent(known[-1].accuracy)}"
        small = f"{rung_title(known[0].name)} → {rung_title(known[-1].name).lower()}"
        said.append(("Accuracy, first to last rung", with_small(ends, small)))
    to_blame = blamed_rung(result)
    if result.cause:
        place = None if to_blame is None else f"on the rung “{rung_title(to_blame.name)}”"
        said.append(("Cause", with_small(cause_title(result.cause), place)))
    else:
        said.append(("Cause", "None to name"))
    shown = to_blame or max((r for r in result.rungs if r.compared), key=lambda r: r.flips, default=None)
    if shown is not None:
        text = flips_text(shown, result.task)
        said.append((flips_title(result.task), with_small(text, f"on “{rung_title(shown.name)}”")))
    size = golden_size(result)
    said.append(("Golden inputs", with_small(size, ORIGIN_TITLES[result.origin].lower())))
    return said


def _ladder(result: CheckResult) -> Markup:
    drawn = waterfall(result)
    if not drawn:
        return Markup("")
    if any(rung.accuracy is not None for rung in result.rungs):
        title = "Where accuracy goes"
        lead = "The same labelled golden inputs, rung by rung. What a rung takes, its own step took."
        caption = join(
            [
                "Dot: accuracy, with its 90 % interval. ",
                _swatch("bar loss", fill="url(#loss)"),
                " loss on a harmful rung, ",
                _swatch("bar gain"),
                " proven gain, ",
                _swatch("bar unproven"),
                " neither.",
            ]
        )
    else:
        title = f"{flips_title(result.task)}, rung by rung"
        lead = (
            "The golden inputs carry no labels, so there is no accuracy to show: these are the answers "
            "that differ from the rung above."
        )
        caption = join(
            [_swatch("bar loss", fill="url(#loss)"), " harmful, ", _swatch("bar changes"), " other rungs."]
        )
    figure = element("figure", drawn, element("figcaption", caption), class_="card")
    return section(title, figure, lead=lead, name="ladder")


def _swatch(class_: str, fill: str | None = None) -> Markup:
    box = element("rect", x=1, y=1, width=22, height=12, rx=2, class_=class_, fill=fill)
    return element("svg", box, viewBox="0 0 24 14", class_="swatch", aria_hidden="true")


def _rungs(result: CheckResult) -> Markup:
    return section("What each rung shows", *(_rung(rung, result.task) for rung in result.rungs), name="rungs")


def _rung(rung: Rung, task: str) -> Markup:
    small = rung_explained(rung.name)
    title = element("h3", rung_title(rung.name), element("small", small) if small else None)
    return element(
        "article",
        element("div", title, badge(rung.verdict)),
        element("p", rung.sentence) if rung.sentence else None,
        facts(_rung_facts(rung, task)),
        _families(rung.families, task),
        class_=f"card rung {rung.verdict}",
    )


def _rung_facts(rung: Rung, task: str) -> list[tuple[str, str | Markup]]:
    said: list[tuple[str, str | Markup]] = []
    if rung.accuracy is not None:
        inside = None if rung.low is None or rung.high is None else percent_interval(rung.low, rung.high)
        said.append(("Accuracy", with_small(accuracy_text(rung), inside)))
    if rung.compared is not None:
        said += _comparison_facts(rung, task)
    if rung.error is not None:
        said.append(("Output error", with_small(*output_error(rung.error))))
    if rung.cause:
        said.append(("Cause", cause_title(rung.cause)))
    if rung.spoke:
        said.append(("Verdict rests on", with_small("", evidence(rung))))
    if rung.latency_ms is not None:
        said.append(("Time to run once, median", f"{rung.latency_ms:.3g} ms"))
    return said


def _comparison_facts(rung: Rung, task: str) -> list[tuple[str, str | Markup]]:
    said: list[tuple[str, str | Markup]] = []
    above = rung_title(rung.compared or "")
    if rung.points is not None:
        inside = points_with_interval(rung.points, rung.points_low, rung.points_high)
        _, _, interval = inside.partition(" (")
        tested = probability(rung.p) if rung.p is not None else ""
        proof = "an estimated loss, not proven" if not_proven(rung) else ""
        small = ", ".join(part for part in (interval.rstrip(")"), tested, proof) if part)
        said.append((f"Against “{above}”", with_small(points_text(rung.points), small or None)))
    said.append((flips_title(task), with_small(flips_text(rung, task), "drawn blindly")))
    if rung.margin_inputs:
        text = share_text(rung.margin_flips, rung.margin_inputs)
        said.append(("Of the close calls", with_small(text, "chosen because they flip first")))
    return said


def _families(families: tuple[KernelFamily, ...], task: str) -> Markup | None:
    if not families:
        return None
    head = ("Kernels", "Inputs", flips_title(task), "Output error against the recorded")
    rows = (
        element(
            "tr",
            element("th", family.name, scope="row"),
            element("td", str(family.inputs), class_="number"),
            element("td", str(family.flips), class_="number"),
            element("td", ", ".join(output_error(family.error))),
        )
        for family in families
    )
    columns = (
        element("th", name, scope="col", class_="number" if i in (1, 2) else None)
        for i, name in enumerate(head)
    )
    table = element("table", element("thead", element("tr", *columns)), element("tbody", *rows))
    return element(
        "div", table, class_="scroll families", tabindex=0, role="region", aria_label="Kernel families"
    )


def _golden(result: CheckResult) -> Markup:
    return section(
        "What the golden inputs prove",
        element(
            "div",
            element("h3", ORIGIN_TITLES[result.origin]),
            element("p", ORIGINS[result.origin]),
            class_="card",
        ),
        name="golden",
    )


def _diagnosis_head(result: DiagnosisResult) -> Markup:
    what = "Accuracy" if result.measure == "accuracy" else "Agreement with the healthy model"
    loss = points_with_interval(-result.loss_points, -result.loss_high, -result.loss_low)
    first = result.first or "Nothing is proven to cost"
    figures: list[tuple[str, str | Markup]] = [
        (
            what,
            with_small(f"{percent(result.trained)} → {percent(result.deployed)}", "as trained → as deployed"),
        ),
        *(
            [("Lost in all", with_small(*_split(loss))), ("Fix first", first)]
            if result.measure == "accuracy"
            else [("Answers that change", percent(result.loss_points / 100))]
        ),
        ("Inputs", str(result.inputs)),
    ]
    return element(
        "header",
        element("p", "Diagnosis of ", element("b", result.bundle), class_="over"),
        *_headline(*headline(result.sentence)),
        facts(figures, class_="facts key card"),
    )


def _split(text: str) -> tuple[str, str]:
    value, _, interval = text.partition(" (")
    return value, interval.rstrip(")")
