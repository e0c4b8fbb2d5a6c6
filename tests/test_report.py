"""The report as a reader's machine takes it apart: structure, safety, and pictures that tell the truth."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from check_results import (
    changed_without_labels,
    detection,
    diagnosis,
    harmful,
    healthy,
    layer_view,
    with_layers,
)

from calibration.check_result import CheckResult, LayerView, Rung
from calibration.report import html, html_diagnosis

STATES = [healthy, harmful, changed_without_labels, detection, with_layers]
HOSTILE = '<script>alert(\'x\')</script><img src="http://198.51.100.7/p.png" onerror=alert(1)>" onload="x'


@dataclass
class Node:
    """An element of a parsed page."""

    tag: str
    attributes: dict[str, str | None]
    children: "list[Node | str]" = field(default_factory=list)

    def walk(self) -> "Iterator[Node]":
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def all(self, tag: str, class_: str = "") -> "list[Node]":
        return [
            node
            for node in self.walk()
            if node.tag == tag and (not class_ or class_ in (node.attributes.get("class") or "").split())
        ]

    def one(self, tag: str, class_: str = "") -> "Node":
        (found,) = self.all(tag, class_)
        return found

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Page(HTMLParser):
    """A strict reader: every element that opens must close, in order."""

    EMPTY = ("meta", "link", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert len(self._open) == 1, f"<{self._open[-1].tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        node = Node(tag, dict(attrs))
        self._open[-1].children.append(node)
        if tag not in self.EMPTY:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def parsed(result: CheckResult) -> Node:
    return Page(html(result)).root


def chart(page: Node) -> Node:
    return page.all("svg", "chart")[0]


def number(node: Node, name: str) -> float:
    return float((node.attributes[name] or "").removesuffix("%"))


def poisoned(value: Any) -> Any:
    """``value`` with every free text in it replaced."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, tuple):
        return tuple(poisoned(each) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        kept = ("verdict", "task", "origin", "spoke", "measure")
        return replace(
            value,
            **{
                each.name: poisoned(getattr(value, each.name))
                for each in fields(value)
                if each.name not in kept
            },
        )
    return value


def pages() -> list[Any]:
    made: list[Any] = [pytest.param(html(state()), id=state.__name__) for state in STATES]
    made.append(pytest.param(html_diagnosis(replace(diagnosis(), layers=layer_view())), id="diagnosis"))
    hostile = replace(harmful(), layers=layer_view())
    made.append(pytest.param(html(poisoned(hostile)), id="hostile"))
    made.append(pytest.param(html_diagnosis(poisoned(diagnosis())), id="hostile diagnosis"))
    return made


@pytest.mark.parametrize("text", pages())
class TestEveryPage:
    def test_is_complete_in_itself(self, text: str) -> None:
        root = Page(text).root
        tags = {node.tag for node in root.walk()}
        assert not tags & {"script", "iframe", "object", "embed", "form", "base", "a"}
        for node in root.walk():
            for name, value in node.attributes.items():
                assert not name.startswith("on"), name
                assert name != "style"
                if name in ("src", "href", "srcset", "data", "action", "xlink:href"):
                    assert (value or "").startswith("data:"), value
        style = root.one("style").text
        assert "url(" not in style
        assert "@import" not in style
        assert set(re.findall(r"url\([^)]*\)", text)) <= {"url(#loss)"}

    def test_states_a_policy_that_allows_only_its_own_style(self, text: str) -> None:
        root = Page(text).root
        digest = base64.b64encode(hashlib.sha256(root.one("style").text.encode()).digest()).decode()
        (policy,) = [
            node.attributes["content"] or ""
            for node in root.all("meta")
            if node.attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert dict(rule.split(" ", 1) for rule in policy.split("; ")) == {
            "default-src": "'none'",
            "style-src": f"'sha256-{digest}'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
        }

    def test_can_be_read_without_eyes(self, text: str) -> None:
        root = Page(text).root
        assert root.one("html").attributes["lang"] == "en"
        assert len(root.all("h1")) == len(root.all("main")) == len(root.all("header")) == 1
        ids = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
        assert len(set(ids)) == len(ids)
        for node in root.walk():
            if (label := node.attributes.get("aria-labelledby")) is not None:
                assert label in ids
        assert all((image.attributes["alt"] or "").strip() for image in root.all("img"))
        for drawn in root.all("svg", "chart"):
            assert drawn.attributes["role"] == "img"
            assert drawn.one("desc").text
        for table in root.all("table"):
            assert all(cell.attributes["scope"] in ("row", "col") for cell in table.all("th"))


@pytest.mark.parametrize("state", STATES)
def test_the_verdict_and_the_sentence_come_first(state: Callable[[], CheckResult]) -> None:
    result = state()
    header = parsed(result).one("header")
    assert header.one("span", "verdict").text.lower() == result.verdict
    lead = header.all("p", "lead")
    assert " ".join([header.one("h1").text, *(each.text for each in lead)]) == result.sentence
    assert result.bundle in header.text


def test_a_sentence_too_long_for_a_title_gets_a_short_one() -> None:
    """The whole sentence stands below it."""
    said = "; ".join(f"{i} of 64 answers flip" for i in range(20)) + ". Do first: swap the channels."
    header = parsed(replace(harmful(), sentence=said)).one("header")
    assert (
        header.one("h1").text
        == "This device’s preprocessing costs 23.4 points: look at its step color first."
    )
    assert header.one("p", "lead").text == said
    unlabelled = parsed(replace(changed_without_labels(), sentence=said)).one("header")
    assert unlabelled.one("h1").text == "The CPU’s kernels change what the model answers."
    fine = parsed(replace(healthy(), sentence=said)).one("header")
    assert fine.one("h1").text == "This device computes what was recorded."


def test_the_same_result_gives_the_same_file() -> None:
    assert html(harmful()) == html(harmful())


def test_foreign_texts_are_shown_as_texts() -> None:
    page = parsed(poisoned(replace(harmful(), layers=layer_view())))
    assert page.one("h1").text == HOSTILE
    assert HOSTILE in page.one("head").one("title").text
    assert [
        cell.text for cell in page.one("table", "env").all("th") if cell.attributes["scope"] == "row"
    ] == [HOSTILE]
    assert page.all("img") == []  # what is no picture is not passed on
    assert page.text.count("no picture") == 12


def test_control_and_bidirectional_characters_cannot_reorder_the_page() -> None:
    text = html(replace(healthy(), bundle="a\u202egpj.\x1b[31m\x00b"))
    assert "a\ufffdgpj.\ufffd[31m\ufffdb" in text


def bar_ends(row: Node) -> tuple[float, float]:
    bar = row.one("rect")
    return number(bar, "x"), number(bar, "x") + number(bar, "width")


def test_the_waterfall_is_to_scale() -> None:
    """The bar of the last rung ends at its accuracy, begins its points above it, on the printed scale."""
    drawn = chart(parsed(harmful()))
    ticks = {each.text: number(each, "x") for each in drawn.all("text", "tick")}
    assert list(ticks) == ["50 %", "60 %", "70 %", "80 %", "90 %", "100 %"]
    one_point = (ticks["100 %"] - ticks["50 %"]) / 50
    rows = drawn.all("g")
    left, right = bar_ends(rows[3])
    assert left == pytest.approx(ticks["50 %"] + (62.5 - 50) * one_point, abs=0.02)
    assert right - left == pytest.approx(23.4 * one_point, abs=0.02)
    assert number(rows[3].one("circle"), "cx") == pytest.approx(left, abs=0.02)
    interval = rows[3].all("line", "whisker")[0]
    assert number(interval, "x1") == pytest.approx(ticks["50 %"] + 5.1 * one_point, abs=0.02)
    assert number(interval, "x2") == pytest.approx(ticks["50 %"] + 19.3 * one_point, abs=0.02)
    (thread,) = rows[3].all("line", "connect")
    assert number(thread, "x1") == number(rows[2].one("circle"), "cx")
    assert "62.5" in rows[3].text
    assert "−23.4 points" in rows[3].text


def test_only_the_loss_of_a_harmful_rung_is_hatched() -> None:
    rows = chart(parsed(harmful())).all("g")
    assert rows[3].one("rect").attributes["fill"] == "url(#loss)"
    assert "unproven" in (rows[1].one("rect").attributes["class"] or "")
    assert rows[2].all("rect") == []  # nothing lost, nothing drawn


def test_a_rung_falls_from_the_rung_it_is_compared_with() -> None:
    """“Your preprocessing” stands below the device's own, yet may be compared with the kernels."""
    result = detection()
    last = replace(result.rungs[3], compared="kernels")
    rows = chart(parsed(replace(result, rungs=(*result.rungs[:3], last)))).all("g")
    (thread,) = rows[3].all("line", "connect")
    kernels = rows[1].one("circle")
    assert (number(thread, "x1"), number(thread, "y1")) == (number(kernels, "cx"), number(kernels, "cy"))


def test_gains_and_a_scale_at_its_ends() -> None:
    best = Rung(
        name="kernels",
        verdict="ok",
        inputs=9,
        flips=9,
        compared="quantized",
        accuracy=1.0,
        points=100.0,
        p=0.001,
    )
    worst = Rung(name="quantized", verdict="ok", inputs=9, flips=0, accuracy=0.0, low=0.0, high=0.2)
    rows = chart(parsed(replace(healthy(), rungs=(worst, best)))).all("g")
    assert bar_ends(rows[1]) == (1, 99)
    assert rows[1].one("rect").attributes["class"] == "bar gain"
    assert "+100.0 points" in rows[1].text


def test_without_labels_changes_are_drawn_and_the_page_says_so() -> None:
    page = parsed(changed_without_labels())
    assert "carry no labels" in page.text
    drawn = chart(page)
    bars = [bar_ends(row)[1] - bar_ends(row)[0] for row in drawn.all("g")]
    ticks = {each.text: number(each, "x") for each in drawn.all("text", "tick")}
    assert bars[0] == pytest.approx((ticks["10 %"] - ticks["0 %"]) * 0.703125, abs=0.02)
    assert "9 of 128" in drawn.text
    assert "McNemar" in page.text


def test_a_single_rung_without_labels_has_nothing_to_draw() -> None:
    alone = replace(changed_without_labels(), rungs=changed_without_labels().rungs[:1])
    page = parsed(alone)
    assert page.all("svg", "chart") == []
    assert len(page.all("article", "rung")) == 1
    assert len(parsed(replace(alone, rungs=())).all("h1")) == 1


def test_every_rung_shows_its_evidence() -> None:
    last = parsed(harmful()).all("article", "rung")[3].text
    for said in (
        "costs 23.4 points (16.9 to 30.2)",
        "37 of 128 (28.9",
        "52 of 64",
        "p < 0.0001",
        "−30.2 to −16.9",
        "SNR 2.4 dB",
        "largest 0.97",
        "Preprocessing: color",
        "the input tensors",
    ):
        assert said in last.replace("\N{NARROW NO-BREAK SPACE}", " ").replace("28.9 %", "28.9")
    kernels = parsed(harmful()).all("article", "rung")[2].one("table")
    assert [row.all("th")[0].text for row in kernels.one("tbody").all("tr")] == [
        "reference",
        "builtin",
        "xnnpack",
    ]


def test_detection_counts_boxes() -> None:
    page = parsed(detection())
    assert "61 in 32 inputs" in page.text
    assert "overlap by at least half" in page.text
    counted = replace(detection(), rungs=tuple(replace(rung, units=244) for rung in detection().rungs))
    assert "61 of 244 boxes (25.0" in parsed(counted).text


def test_accuracy_says_of_how_many_labels() -> None:
    result = replace(healthy(), rungs=tuple(replace(rung, labelled=4) for rung in healthy().rungs))
    assert "86.7\N{NARROW NO-BREAK SPACE}% of 4 labelled" in parsed(result).all("article", "rung")[0].text


def quantized_changed(**changes: Any) -> CheckResult:
    """Only the recorded quantized model is changed; the device itself is as it should be."""
    well = healthy()
    usual: dict[str, Any] = {
        "verdict": "changed",
        "spoke": ("flips",),
        "sentence": "It differs, " * 20 + "so.",
    }
    rung = replace(well.rungs[1], **usual | changes)
    return replace(
        well, verdict="changed", sentence=rung.sentence, rungs=(well.rungs[0], rung, *well.rungs[2:])
    )


def test_a_changed_quantized_model_says_nothing_of_the_device() -> None:
    title = parsed(quantized_changed()).one("h1").text
    assert title == "The quantized model answers differently from its float twin."
    lossy = quantized_changed(spoke=("accuracy",), points=-2.3, p=0.29)
    title = parsed(lossy).one("h1").text
    assert title == "The quantized model is 2.3 points below its float twin: an estimated loss, not proven."
    assert "an estimated loss, not proven" in parsed(lossy).all("article", "rung")[1].text


def test_the_same_input_is_shown_once() -> None:
    first, second = harmful().pictures[:2]
    result = replace(harmful(), pictures=(replace(first, device=first.training), second))
    same, apart = parsed(result).all("div", "shots")
    assert [caption.text for caption in same.all("figcaption")] == ["The same input"]
    assert len(same.all("img")) == 1 and len(apart.all("img")) == 3


def test_only_what_differs_in_the_environment_is_marked() -> None:
    table = parsed(healthy()).one("table", "env")
    marked = {row.one("th").text for row in table.one("tbody").all("tr") if "differs" in row.text}
    assert marked == {"runtime", "kernels", "numpy", "CPU"}
    assert "tflite-runtime 2.14.0" in table.text
    assert "ai-edge-litert 2.3.0" in table.text


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("recorded", "come from the training code itself"),
        ("self-made", "cannot prove that the spec agrees with training"),
        ("unknown", "does not say who made"),
    ],
)
def test_what_the_golden_tensors_prove_is_said(origin: Any, said: str) -> None:
    assert said in parsed(replace(healthy(), origin=origin)).text


def test_pictures_stand_beside_each_other_with_their_answers() -> None:
    result = harmful()
    shown = parsed(result).all("div", "shots")
    assert len(shown) == 4
    sources = [image.attributes["src"] for image in shown[0].all("img")]
    first = result.pictures[0]
    assert sources == [
        f"data:image/jpeg;base64,{each}" for each in (first.training, first.device, first.difference)
    ]
    assert [each.text for each in shown[0].all("figcaption")] == [
        "Training side",
        "This device",
        "Difference",
    ]
    text = parsed(result).text
    assert "barn → lakeside" in text
    assert 'house <7> & "Co".jpg' in text


def test_a_long_path_is_shown_by_its_end() -> None:
    result = harmful()
    far = replace(result.pictures[0], name="/srv/data/held_out/2026/photographs/of the barn/IMG_0031.jpg")
    text = parsed(replace(result, pictures=(far,))).one("p", "name").text
    assert text == "…/of the barn/IMG_0031.jpg on “This device’s preprocessing”; truth: barn"


def layer_section(view: LayerView) -> Node:
    (found,) = [
        each
        for each in parsed(replace(healthy(), layers=view)).all("section")
        if each.attributes.get("aria-labelledby") == "layers"
    ]
    return found


def test_the_jump_is_marked_in_the_layer_plot() -> None:
    section = layer_section(layer_view())
    drawn = section.one("svg", "chart")
    mark = drawn.one("line", "jump")
    assert "jump: layer 4, DEPTHWISE_CONV_2D" in drawn.text
    bad = [each for each in drawn.all("circle") if "bad" in (each.attributes["class"] or "")]
    assert [number(each, "cx") for each in bad] == [number(mark, "x1")]
    points = [
        tuple(map(float, each.split(",")))
        for each in (drawn.one("polyline").attributes["points"] or "").split()
    ]
    assert len(points) == 29
    assert points[3] == (number(mark, "x1"), number(mark, "y2"))
    heights = [y for _, y in points]
    assert heights[0] == min(heights)  # the first equals its twin: nothing differs


def test_layers_say_what_is_wrong_and_which_kernels_ran() -> None:
    section = layer_section(layer_view())
    assert "the widest channel is 190 times" in section.text
    assert "not the kernels that run the model in production" in section.text
    few, every = section.all("table")
    assert len(few.one("tbody").all("tr")) == 8
    assert few.one("tbody").all("tr")[0].one("th").text.startswith("4. DEPTHWISE_CONV_2D")
    assert len(every.one("tbody").all("tr")) == 29


def test_a_view_of_one_layer_or_none() -> None:
    view = layer_view()
    alone = layer_section(replace(view, layers=view.layers[:1], jump=None, findings=(), production=True))
    assert "as in production" in alone.text
    assert all(
        each.attributes.get("aria-labelledby") != "layers" for each in parsed(healthy()).all("section")
    )
    assert "Layers" not in parsed(replace(healthy(), layers=replace(view, layers=()))).text


def test_a_diagnosis_draws_each_factor_to_scale() -> None:
    page = Page(html_diagnosis(diagnosis())).root
    drawn = chart(page)
    ticks = {each.text: number(each, "x") for each in drawn.all("text", "tick")}
    one_point = (ticks["20"] - ticks["0"]) / 20
    widths = [bar_ends(row)[1] - bar_ends(row)[0] for row in drawn.all("g")]
    assert widths == pytest.approx([x * one_point for x in (19.4, 11.0, 1.6, 0.75)], abs=0.02)
    hatched = [row.one("rect").attributes.get("fill") == "url(#loss)" for row in drawn.all("g")]
    assert hatched == [True, True, False, False]
    assert bar_ends(drawn.all("g")[3])[1] == pytest.approx(ticks["0"], abs=0.02)  # a gain: left of zero
    assert "−31.2 points" in page.one("header").text
    assert "every mix of factors was run" in page.text


def test_a_diagnosis_without_differences() -> None:
    nothing = replace(diagnosis(), factors=(), first=None, loss_points=0.0)
    page = Page(html_diagnosis(nothing)).root
    assert "Nothing differs." in page.text
    assert "Nothing is proven to cost" in page.text


def luminance(colour: str) -> float:
    """WCAG 2.1's relative luminance of ``#rgb`` or ``#rrggbb``."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


TEXTS = [
    ("ink", "page"),
    ("ink", "card"),
    ("soft", "page"),
    ("soft", "card"),
    ("harmful", "card"),
    ("changed", "card"),
    ("ok", "ok-wash"),
    ("changed", "changed-wash"),
    ("harmful", "harmful-wash"),
]
SHAPES = [("loss", "card"), ("gain", "card"), ("curve", "card"), ("soft", "card")]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_in_both_themes(theme: int) -> None:
    style = parsed(healthy()).one("style").text
    blocks = re.findall(r":root\{([^}]*--loss:[^}]*)\}", style)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--([\w-]+):(#[0-9a-f]+)", blocks[theme]))
    for pairs, least in ((TEXTS, 4.5), (SHAPES, 3.0)):
        for front, back in pairs:
            dark, light = sorted((luminance(colours[front]), luminance(colours[back])))
            assert (light + 0.05) / (dark + 0.05) >= least, (front, back)
