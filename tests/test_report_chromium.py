"""The report in a real browser: what it shows, that it fits a phone, and that it asks nothing of anybody."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest
from check_results import diagnosis, harmful, layer_view

from calibration.report import html, html_diagnosis

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="skipped: no Chromium on this machine")

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--no-default-browser-check",
    "--hide-scrollbars",
]


@dataclass
class Site:
    """A web server on this machine that remembers what it was asked for."""

    address: str
    pages: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            body = served.pages.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class' name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def browse(address: str, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    command = [BROWSER, *OPTIONS, f"--user-data-dir={profile}", "--enable-logging=stderr", *options, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)


def test_it_renders_and_requests_nothing(site: Site, tmp_path: Path) -> None:
    """Also when the result's own texts try to: they point at the server, which hears nothing."""
    bait = f"<img src={site.address}/bait.png><script src='{site.address}/bait.js'></script>"
    result = replace(harmful(), bundle=bait, sentence=f"{bait} is lost. Repair it.", notes=(bait,))
    site.pages["/report"] = html(replace(result, layers=layer_view()))
    shot = tmp_path / "page.png"
    seen = browse(
        f"{site.address}/report",
        tmp_path / "p",
        "--dump-dom",
        f"--screenshot={shot}",
        "--window-size=1000,1200",
    )
    assert site.asked == ["/report"]
    assert "Refused to" not in seen.stderr
    assert "violates" not in seen.stderr
    dom = seen.stdout
    assert re.findall(r"<script|<img[^>]* src=[\"']?http", dom) == []
    assert "&lt;img src=http://127.0.0.1" in dom
    assert dom.count("<circle") >= 4
    assert dom.count("data:image/jpeg;base64,") == 12
    picture = cv2.imread(str(shot))
    assert picture is not None
    page_colour = picture[5, 5].tolist()
    assert page_colour in ([0xF1, 0xF5, 0xF6], [0x17, 0x15, 0x13])  # the style sheet was let in


MEASURE = (
    "<script>document.title = [innerWidth, document.documentElement.scrollWidth, "
    "[...document.images].every(i => i.complete && i.naturalWidth > 0), "
    "document.querySelectorAll('img').length].join(' ')</script></body>"
)


@pytest.mark.parametrize("width", [320, 1200])
def test_it_fits_the_screen_and_its_pictures_are_pictures(site: Site, tmp_path: Path, width: int) -> None:
    """Measured by a script in a copy without the policy, inside a frame of the wanted width."""
    for name, text in (
        ("/check", html(replace(harmful(), layers=layer_view(), bundle="a_very_long_name" * 12))),
        ("/diagnosis", html_diagnosis(replace(diagnosis(), layers=layer_view()))),
    ):
        free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        site.pages[name] = free.replace("</body>", MEASURE)
    frames = "".join(
        f"<iframe src={name} width={width} height=900 style='border:0'></iframe>"
        for name in ("/check", "/diagnosis")
    )
    site.pages["/"] = (
        f"<body>{frames}<script>onload = () => document.title = [...document.querySelectorAll('iframe')]"
        ".map(f => f.contentDocument.title).join(';')</script></body>"
    )
    dom = browse(f"{site.address}/", tmp_path / "p", "--dump-dom", "--window-size=1600,1000").stdout
    measured = re.search(r"<title>([^<]*)</title>", dom)
    assert measured is not None
    assert measured[1] == f"{width} {width} true 12;{width} {width} true 0"
