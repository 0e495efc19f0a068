"""Pictures for the README: an hour's worth of life in some ten minutes."""

import os
from pathlib import Path

from playwright.sync_api import expect

from browser import ARGUMENTS, DESKTOP, api, ask_test, browser, console, panel, row

PLACE = Path(ARGUMENTS[0])
# shorter while somebody works on the looks
PACE = float(os.environ.get("ANABRANCH_PACE", "1"))


def live(page, seconds):
    page.wait_for_timeout(seconds * 1000 * PACE)


def throttle(route, target, rate):
    api(f"routes/{route}/targets/{target}/bandwidth", "PUT", {"rate": rate})


def lives(page):
    live(page, 60)
    throttle("payments", "shanghai", "640KiB/s")
    live(page, 75)
    throttle("payments", "shanghai", "2MiB/s")
    ask_test("freeze beijing")
    live(page, 25)
    ask_test("thaw beijing")
    live(page, 50)
    api("routes/orders/targets/shanghai/pause", "POST")
    live(page, 45)
    api("routes/orders/targets/shanghai/resume", "POST")
    live(page, 100)
    throttle("payments", "shanghai", "768KiB/s")
    live(page, 75)
    ask_test("freeze beijing")
    live(page, 22)
    ask_test("thaw beijing")
    throttle("orders", "shanghai", "20MiB/s")
    live(page, 30)


def shoot(launched, name, route, **options):
    with console(launched, device_scale_factor=1, **options) as page:
        expect(row(page, "payments", "shanghai")).to_be_visible()
        if route is not None:
            page.goto(page.url.split("#")[0] + f"#/routes/{route}")
            expect(panel(page, "shanghai")).to_be_visible()
        # rates are measured over some seconds
        page.wait_for_timeout(6_000)
        page.screenshot(path=PLACE / f"{name}.png")


with browser() as launched:
    with console(launched) as page:
        lives(page)
    ask_test("freeze beijing")
    desktop = {"width": DESKTOP["width"], "height": 1000}
    shoot(launched, "console-light", None, viewport=desktop, color_scheme="light")
    shoot(launched, "console-dark", None, viewport=desktop, color_scheme="dark")
    shoot(launched, "console-route-light", "payments", viewport=desktop, color_scheme="light")
    shoot(launched, "console-route-dark", "payments", viewport=desktop, color_scheme="dark")
    shoot(launched, "console-phone", "payments", viewport={"width": 375, "height": 812}, color_scheme="dark", is_mobile=True, has_touch=True)
