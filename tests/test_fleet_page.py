"""The fleet's page: what stands on it, that it is safe, and that a browser shows it."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from seeded_telemetry import HEALTH, SESSIONS, about, accepted, alarm, drift, envelope, state, window
from test_report import HOSTILE, Node, Page
from test_report_chromium import BROWSER, Site, browse, site

from agent.telemetry.messages import Accuracy, Commissioning, Diagnosis, Envelope, Estimate, RankedCause
from tools.cli import main
from tools.collector.fleet import Device, fleet
from tools.collector.store import Store
from tools.fleet_page import fleet_page

__all__ = ["site"]

NOW = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)
LABELS = Accuracy(n=200, accuracy=0.6, low=0.541, high=0.656, reference=0.975)
GOOD = Accuracy(n=200, accuracy=0.97, low=0.943, high=0.985, reference=0.975)
LOW = Estimate(
    kind="accuracy",
    n=250,
    effective_n=83.0,
    value=0.712,
    low=0.601,
    high=0.803,
    method="replay",
    reference=0.975,
)
ABSTAINS = Estimate(kind="accuracy", n=250, effective_n=83.0, abstained="unlike anything replayed")
BLUR = RankedCause(
    cause="data:blur", weight=0.8, evidence="closest match .81", next_step="clean the lens", match=0.81
)


def messages(bait: str = "") -> list[Envelope]:
    """Four devices: healthy, fallen by its labels, alarmed with a diagnosis, and one with a notice only."""
    fallen: dict[str, Any] = {"device": "cam-2", "session": SESSIONS[2]}
    alarmed: dict[str, Any] = {"device": "cam-3", "session": SESSIONS[3]}
    mild: dict[str, Any] = {"device": "cam-4", "session": SESSIONS[4]}
    raised = replace(
        alarm("raised", severity="critical"), loss_points=26.3, loss_low=17.2, loss_high=37.4,
        summary=f"darker {bait}", detector="cusum", against="training", provisional=True,
    )  # fmt: skip
    told = Diagnosis(
        causes=(replace(BLUR, evidence=f"closest match .81 {bait}"),), summary=f"blur {bait}", trigger="drift"
    )
    begun = Commissioning(ready=False, samples=812, samples_wanted=2000, hours=9.7, hours_wanted=24.0)
    return [
        state("online", 1),
        envelope(about(), 0),
        envelope(window(accuracy=GOOD, drift=(drift(0.4),)), 1),
        envelope(about(bundle=bait or "digits.tflite"), 0, **fallen),
        envelope(window(accuracy=LABELS), 1, **fallen),
        envelope(replace(HEALTH, throttled_now=("under-voltage",), tpu=bait or "absent"), 2, **fallen),
        envelope(about(), 0, **alarmed),
        envelope(replace(window(), estimate=LOW, commissioning=begun), 1, **alarmed),
        envelope(raised, 2, **alarmed),
        envelope(told, 3, **alarmed),
        envelope(replace(window(), estimate=ABSTAINS), 1, **mild),
        envelope(replace(alarm("raised", severity="notice"), loss_points=0.4, cause=""), 2, **mild),
    ]


def known(folder: Path, sent: list[Envelope]) -> tuple[Device, ...]:
    store = Store(str(folder / "fleet.db"))
    try:
        store.ingest([accepted(message) for message in sent])
        return fleet(store)
    finally:
        store.close()


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., Node]:
    def draw(bait: str = "") -> Node:
        return Page(fleet_page(known(tmp_path, messages(bait)), now=NOW)).root

    return draw


def cards(page: Node) -> dict[str, Node]:
    """The cards by device, in the page's order."""
    return {re.sub(r"digits.*", "", card.one("h3").text): card for card in page.all("article")}


def test_the_worst_device_stands_first(drawn: Callable[..., Node]) -> None:
    found = cards(drawn())
    assert list(found) == ["lab/cam-2", "lab/cam-3", "lab/cam-1", "lab/cam-4"]
    assert [card.one("span", "verdict").text for card in found.values()] == [
        "■lost accuracy",
        "◆alarm",
        "●healthy",
        "●nothing known to be wrong",
    ]


def test_a_card_says_what_was_measured_and_what_was_estimated(drawn: Callable[..., Node]) -> None:
    found = cards(drawn())
    assert "Accuracy, labelled60.0 %200 labels, 54.1 to 65.6" in found["lab/cam-2"].text
    assert "Accuracy, estimated71.2 % (60.1 to 80.3)without labels, replay" in found["lab/cam-3"].text
    assert "Accuracy, estimatedabstainsunlike anything replayed" in found["lab/cam-4"].text
    assert "Machine: held back now: under-voltage" in found["lab/cam-2"].text
    assert "Machine: TPU: absent" in found["lab/cam-2"].text
    assert "Commissioning: 9.7 of 24 h, 812 of 2000 samples" in found["lab/cam-3"].text


def test_alarms_say_their_loss_and_a_notice_is_grey(drawn: Callable[..., Node]) -> None:
    found = cards(drawn())
    worst = found["lab/cam-3"].all("ul", "notes")[0].one("li")
    assert worst.attributes.get("class") is None
    assert worst.text.startswith(
        "Alarm drift: critical, loss about 26.3 points (17.2 to 37.4), by cusum, against training, "
        "provisional; since 2026-01-01T11:59:59.500Z."
    )
    mild = found["lab/cam-4"].all("ul", "notes")[0].one("li")
    assert mild.attributes["class"] == "soft"


def test_the_diagnosis_ranks_causes_with_the_next_step(drawn: Callable[..., Node]) -> None:
    card = cards(drawn())["lab/cam-3"]
    (listed,) = card.all("ul", "plain")
    assert [item.text for item in listed.all("li")] == [
        "1. data:blur: closest match .81. Next: clean the lens"
    ]


def test_what_devices_say_is_only_text(drawn: Callable[..., Node]) -> None:
    page = drawn(HOSTILE)
    tags = {node.tag for node in page.walk()}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "a", "img"}
    assert not [name for node in page.walk() for name in node.attributes if name.startswith("on")]
    assert page.text.count("<script>alert('x')</script>") >= 4


def test_an_empty_fleet_has_a_page() -> None:
    page = Page(fleet_page((), now=NOW)).root
    assert page.one("h1").text == "No device has been heard of yet."
    assert page.all("article") == []


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known(tmp_path, messages())
    path = tmp_path / "fleet.html"
    assert main(["report", "--db", str(tmp_path / "fleet.db"), "--html", str(path)]) == 0
    assert len(cards(Page(path.read_text()).root)) == 4
    assert f"wrote {path}" in capsys.readouterr().err
    absent = tmp_path / "absent" / "fleet.html"
    assert main(["report", "--db", str(tmp_path / "fleet.db"), "--html", str(absent)]) == 2
    assert "--html" in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason="skipped: no Chromium on this machine")
def test_a_browser_shows_it_and_it_asks_for_nothing(site: Site, tmp_path: Path) -> None:
    """Also when devices try to: what they say points at the server, which hears nothing but the page."""
    bait = f"<img src={site.address}/bait.png><script src='{site.address}/bait.js'></script>"
    text = fleet_page(known(tmp_path, messages(bait)), now=NOW)
    site.pages["/fleet"] = text
    seen = browse(f"{site.address}/fleet", tmp_path / "p", "--dump-dom", "--window-size=1000,1200")
    assert site.asked == ["/fleet"]
    assert "Refused to" not in seen.stderr
    assert "violates" not in seen.stderr
    assert seen.stdout.count("<article") == 4
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    width = "document.title = [innerWidth, document.documentElement.scrollWidth].join(' ')"
    site.pages["/measured"] = free.replace("</body>", f"<script>{width}</script></body>")
    site.pages["/"] = (
        "<body><iframe src=/measured width=320 height=900 style='border:0'></iframe><script>"
        "onload = () => document.title = document.querySelector('iframe').contentDocument.title"
        "</script></body>"
    )
    dom = browse(f"{site.address}/", tmp_path / "q", "--dump-dom", "--window-size=800,1000").stdout
    measured = re.search(r"<title>([^<]*)</title>", dom)
    assert measured is not None
    assert measured[1] == "320 320"
