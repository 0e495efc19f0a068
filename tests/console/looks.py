"""Light and dark, desktop and phone, without a fault of accessibility; and names and reasons that look like markup."""

import json
import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from browser import DESKTOP, PHONE, browser, console, panel, polls, row, wait_until

AXE = Axe()
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


def faults(page, where):
    found = AXE.run(page).response["violations"]
    found = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    told = [f"{fault['id']}: {fault['help']}: {[node['html'] for node in fault['nodes'][:3]]}" for fault in found]
    assert not told, f"{where}: " + "\n".join(told)


def fits(page, where):
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{where}: {wide} px too wide"


def in_all_lights(page, view):
    """As it is for everybody: light and dark, on a desk and on a phone."""
    for screen, size in (("desktop", DESKTOP), ("phone", PHONE)):
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            faults(page, f"{view}, {scheme}, {screen}")
        fits(page, f"{view}, {screen}")
    page.set_viewport_size(DESKTOP)


def nobody_is_kept_out(page):
    expect(row(page, "refunds", "singapore")).to_contain_text("retrying")
    expect(page.get_by_role("region", name="How it is")).to_contain_text("attention")
    in_all_lights(page, "overview")
    row(page, "refunds", "singapore").get_by_role("link").click()
    expect(panel(page, "singapore")).to_contain_text(re.compile(r"system fault, attempt \d+ failed"))
    page.locator("details.numbers summary").first.click()
    panel(page, "shanghai").get_by_label("Bandwidth limit").fill("nothing")
    panel(page, "shanghai").get_by_label("Bandwidth limit").press("Enter")
    expect(panel(page, "shanghai").get_by_role("alert")).to_contain_text("such as 20MiB/s")
    panel(page, "shanghai").get_by_role("button", name="Pause shanghai").click()
    faults(page, "dialog")
    page.keyboard.press("Escape")
    in_all_lights(page, "route")
    page.get_by_role("link", name="Events").click()
    expect(page.locator(".events li").first).to_be_visible()
    page.set_viewport_size(PHONE)
    faults(page, "events")
    fits(page, "events")


def a_phone_is_enough(launched):
    """What is touched, and not just narrow."""
    with console(launched, viewport=PHONE, is_mobile=True, has_touch=True) as page:
        row(page, "parcels", "beijing").get_by_role("link").tap()
        panel(page, "beijing").get_by_role("button", name="Pause beijing").tap()
        page.get_by_role("dialog").get_by_role("button", name="Cancel").tap()
        fits(page, "route, by touch")


def the_theme_is_remembered(page):
    button = page.get_by_role("button", name="Theme")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    button.click()
    expect(button).to_have_text("Theme: light")
    assert page.evaluate(background) != dark
    light = page.evaluate(background)
    page.reload()
    expect(button).to_have_text("Theme: light")
    assert page.evaluate(background) == light
    button.click()
    assert page.evaluate(background) == dark


def spoiled(value):
    """An answer of the engine with markup in every text of it that is no state and no time."""
    if isinstance(value, dict):
        kept = ("state", "since", "at", "next_attempt_at", "kind", "level")
        return {key: part if key in kept else spoiled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [spoiled(part) for part in value]
    return value + HOSTILE if isinstance(value, str) else value


def markup_is_text(page):
    def answer(route):
        response = route.fetch()
        # the engine knows its routes by their own names
        route.fulfill(response=response, json=spoiled(response.json()))

    page.route(re.compile(r"/api/v1/(routes|events\?)"), lambda route: (
        answer(route) if route.request.url.endswith(("/api/v1/routes", "limit=500"))
        else route.fulfill(json=spoiled(json.loads(detail))) if "/history" not in route.request.url else route.fulfill(status=404, json={})
    ))
    detail = page.request.get(page.url.split("#")[0] + "api/v1/routes/refunds").text()
    page.reload()
    expect(page.get_by_role("heading", level=2).filter(has_text="refunds<img src=x")).to_be_visible()
    expect(page.get_by_role("region", name="How it is")).to_contain_text("<script>")
    page.get_by_role("link", name=re.compile("^refunds<img")).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
    expect(page.get_by_role("article").first).to_contain_text("<img src=x")
    polls(page, 2)
    page.goto(page.url.split("#")[0] + "#/routes/" + "%3Cimg src=x onerror=hacked%3E")
    page.get_by_role("link", name="Events").click()
    expect(page.locator(".events li").first).to_contain_text("<script>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0
    # the console never stops asking: what is being answered is answered before the page is gone
    page.unroute_all(behavior="wait")


with browser() as launched:
    with console(launched, allowed=["422 (Unprocessable"]) as page:
        nobody_is_kept_out(page)
        page.set_viewport_size(DESKTOP)
        the_theme_is_remembered(page)
    a_phone_is_enough(launched)
    with console(launched, allowed=["404 (Not Found)"]) as page:
        expect(row(page, "refunds", "singapore")).to_be_visible()
        markup_is_text(page)
