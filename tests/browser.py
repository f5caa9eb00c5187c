"""Opens a page of ours in a headless Chromium, in a frame as wide as a screen, and asks about it.

The page is copied with a policy that forbids every request but its own pictures, and a note of each
that was tried.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_WATCH = """<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<script>
window.tried = [];
document.addEventListener("securitypolicyviolation", (event) => tried.push(event.blockedURI));
</script>
"""

_FRAME = """<!DOCTYPE html><meta charset="utf-8">
<iframe id="page" style="width: {width}px; height: 900px; border: 0" srcdoc="{page}"></iframe>
<script>
window.onload = () => {{
  const frame = document.getElementById("page").contentWindow, inside = frame.document;
  for (const each of inside.querySelectorAll("details")) each.open = {opened};
  const root = inside.documentElement, within = (node) => {{
    for (; node && node !== root; node = node.parentElement)
      if (["auto", "scroll", "hidden"].includes(frame.getComputedStyle(node).overflowX))
        return true;
    return false;
  }};
  const wide = [...inside.body.querySelectorAll("*")].filter(
    (node) => node.getBoundingClientRect().right > frame.innerWidth + 1 && !within(node));
  const found = {{
    width: frame.innerWidth,
    scroll_width: root.scrollWidth,
    too_wide: wide.map((node) => node.tagName + " " + node.textContent.slice(0, 40)),
    tried: frame.tried,
    fetched: frame.performance.getEntriesByType("resource").map((each) => each.name),
    pictures: [...inside.images].map((image) => image.complete && image.naturalWidth > 0),
    text: inside.body.innerText,
  }};
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
}};
</script>
"""


@dataclass(frozen=True)
class Seen:
    """A page as a browser lays it out.

    Attributes:
        width: of the screen, in CSS pixels.
        scroll_width: of all that is laid out.
        too_wide: what sticks out of the screen and is in no box that scrolls.
        tried: addresses that the page asked for and that were refused.
        fetched: addresses that were fetched.
        pictures: whether each could be shown.
        text: all that is to be read, with every part opened.
    """

    width: int
    scroll_width: int
    too_wide: list[str]
    tried: list[str]
    fetched: list[str]
    pictures: list[bool]
    text: str


def browser() -> str:
    """The browser's path; a test that asks is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} is on the PATH")
    return found


def look(page: Path, width: int, folder: Path, *, opened: bool = True) -> Seen:
    """Lays a page out on a screen of so many pixels.

    Args:
        page: the file.
        width: of the screen.
        folder: for the browser's own files.
        opened: whether parts that open on a click are open.
    """
    content = page.read_text().replace("<head>", "<head>" + _WATCH, 1)
    assert _WATCH in content
    frame = folder / "frame.html"
    frame.write_text(_FRAME.format(width=width, page=escape(content), opened=str(opened).lower()))
    command = [
        browser(),
        "--headless=new",
        "--no-sandbox",  # which needs rights that a container does not give
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={max(width, 500) + 100},1000",
        "--virtual-time-budget=20000",
        "--dump-dom",
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    return Seen(**json.loads(unescape(found.group(1))))
