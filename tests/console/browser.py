"""What the scripts share: the browser, what it must never do, the engine's API, and questions to the test."""

import json
import os
import queue
import shutil
import sys
import threading
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect, sync_playwright

URL = sys.argv[1]
ARGUMENTS = sys.argv[2:]
DEADLINE = 20_000
PHONE = {"width": 375, "height": 740}
DESKTOP = {"width": 1280, "height": 860}

expect.set_options(timeout=DEADLINE)
_replies: queue.Queue = queue.Queue()


def _listen() -> None:
    for line in sys.stdin:
        _replies.put(json.loads(line))
    # the test is gone, and nobody wants to know any more
    os._exit(3)


threading.Thread(target=_listen, daemon=True).start()


def ask_test(request: str):
    """Has the test do what a page can't."""
    print(f"? {request}", flush=True)
    return _replies.get(timeout=90)


def api(path: str, method: str = "GET", body=None, token: str | None = None):
    """The engine, past the console."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{URL}/api/v1/{path}", data=data, method=method)
    request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def target(route: str, name: str):
    """A target, past the console."""
    return next(target for target in api(f"routes/{route}")["targets"] if target["name"] == name)


def wait_until(page: Page, what: str, look):
    """Looks until there is something, while the page goes on; fails at the deadline."""
    for _ in range(DEADLINE // 100):
        found = look()
        if found:
            return found
        page.wait_for_timeout(100)
    raise AssertionError(f"not within {DEADLINE} ms: {what}")


def polls(page: Page, count: int = 2) -> None:
    """Waits until the console has asked again, so often."""
    for _ in range(count):
        page.wait_for_event("requestfinished", lambda request: request.url.endswith("/api/v1/routes"), timeout=DEADLINE)


@contextmanager
def browser():
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or "chromium"
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield launched
        finally:
            launched.close()


@contextmanager
def console(launched, allowed=(), path="/", **options):
    """A page with the console. No script of it may fail, no line of its log may be an error, but for those that contain what is allowed,
    and nobody but the engine may be asked."""
    context = launched.new_context(**{"viewport": DESKTOP, **options})
    context.set_default_timeout(DEADLINE)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda line: wrong.append(f"console: {line.text}") if line.type in ("error", "warning") else None)
    own = urlsplit(URL).netloc
    page.on("request", lambda request: wrong.append(f"request: {request.url}") if urlsplit(request.url).netloc != own else None)
    page.goto(URL + path)
    yield page
    foreign = [line for line in wrong if not any(word in line for word in allowed)]
    assert not foreign, "\n".join(foreign)
    context.close()


def row(page: Page, route: str, name: str):
    """A target's row in the overview."""
    return page.get_by_role("table", name=f"Targets of {route}").get_by_role("row").filter(has=page.get_by_role("rowheader", name=name, exact=True))


def panel(page: Page, name: str):
    """A target's panel in its route's view."""
    return page.get_by_role("article", name=name, exact=True)


def figure(place, name: str):
    """A figure by its name."""
    return place.locator("dl > div").filter(has=place.page.locator("dt", has_text=name)).locator("strong").first


UNITS = {"B/s": 1, "KiB/s": 1024, "MiB/s": 1024**2, "GiB/s": 1024**3}


def rate(text: str) -> float:
    """Bytes per second, as they are shown."""
    number, unit = text.split()
    return float(number) * UNITS[unit]
