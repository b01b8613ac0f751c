"""The site that mkdocs builds of the pages: links, search, and how a browser shows it, on a telephone, too."""

import functools
import http.server
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser

import pytest

from .page import ROOT

pytestmark = pytest.mark.slow
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = 360  # pixels

# Opens each page in a frame as wide as a telephone, searches in the first one, and sends what it has seen.
WATCH = """<!doctype html><meta charset="utf-8">
<iframe id="frame" style="width: %(width)dpx; height: 700px"></iframe><script>
const frame = document.getElementById("frame"), found = {errors: [], wide: [], pages: 0, results: 0};
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const open = (page) => new Promise((done) => {
  frame.onload = () => {
    const inside = frame.contentWindow;
    inside.addEventListener("error", (e) => found.errors.push(page + ": " + e.message));
    done(inside);
  };
  frame.src = page;
});
(async () => {
  for (const page of %(pages)s) {
    const inside = await open(page);
    await wait(50);
    found.pages += 1;
    if (inside.document.documentElement.scrollWidth > %(width)d) found.wide.push(page);
    for (const image of inside.document.images)
      if (image.complete && !image.naturalWidth) found.errors.push(page + ": no picture " + image.src);
  }
  const inside = await open("index.html"), field = inside.document.querySelector("input[name=query]");
  inside.document.querySelector("[data-md-toggle=search]").click();
  field.focus();
  field.value = "zoneout";
  for (let i = 0; i < 400 && !found.results; i++) {
    field.dispatchEvent(new inside.KeyboardEvent("keyup", {bubbles: true, key: "t"}));
    await wait(50);
    found.results = inside.document.querySelectorAll(".md-search-result__item").length;
  }
  await fetch("found", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


class Page(HTMLParser):
    """The ids of a page, and what it links to and loads."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.named = set(), [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        if tag == "a" and "href" in attrs:
            self.links.append(attrs["href"])
        elif tag in ("img", "script", "iframe") and attrs.get("src"):
            self.loads.append(attrs["src"])
        elif tag == "link" and attrs.get("rel") in ("stylesheet", "icon"):
            self.loads.append(attrs["href"])
        elif tag == "meta":
            self.named[attrs.get("name")] = attrs.get("content")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built with every warning an error."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """By path below the site, all of its pages but the one for what is not there."""
    found = {path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    del found["404.html"]
    return found


def test_every_page_is_there(pages):
    written = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }
    assert set(pages) == written


def test_links_lead_somewhere(site, pages):
    for name, page in pages.items():
        for target in page.links + page.loads:
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = ((site / name).parent / path).resolve() if path else site / name
            file = file / "index.html" if file.is_dir() else file
            assert file.is_file(), f"{name}: {target}"
            if anchor and file.suffix == ".html":
                assert anchor in pages[file.relative_to(site).as_posix()].ids, f"{name}: {target}"


def test_nothing_is_loaded_from_elsewhere(pages):
    for name, page in pages.items():
        assert not [target for target in page.loads if target.startswith(("http", "//"))], name


def test_pages_fit_the_width_of_the_screen(pages):
    for name, page in pages.items():
        assert "width=device-width" in page.named["viewport"], name


def test_the_search_knows_every_page(site, pages):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    places = {entry["location"].partition("#")[0] or "index.html" for entry in index["docs"]}
    assert places == set(pages)


@pytest.mark.parametrize(
    "room",
    ["tr", "nn", "optim", "train", "data", "distributions", "testing", "viz", "export", "io", "estimators"],
)
def test_the_reference_has_every_public_name(pages, room):
    if room == "estimators":
        pytest.importorskip("sklearn")
    module = importlib.import_module("tinygrad_rnn" if room == "tr" else f"tinygrad_rnn.{room}")
    names = {name for name in module.__all__ if callable(getattr(module, name))}
    assert names - {anchor.rpartition(".")[2] for anchor in pages[f"api/{room}.html"].ids} == set()


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder, and keeps what a page sends."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.found, self.done = {}, threading.Event()


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_POST(self):
        self.server.found = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.done.set()

    def log_message(self, *args):
        pass


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_shows_it(site, pages, tmp_path):
    (site / "watch.html").write_text(WATCH % {"width": PHONE, "pages": json.dumps(sorted(pages))}, encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    with Server(site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [BROWSER, *options, f"http://127.0.0.1:{server.server_port}/watch.html"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert server.done.wait(180), "the browser has not looked at all pages"
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()
            (site / "watch.html").unlink()
    found = server.found
    assert found["pages"] == len(pages)
    assert not found["errors"]
    assert not found["wide"], "wider than a telephone"
    assert found["results"], "the search finds nothing"
