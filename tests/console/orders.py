"""Lag moves; a route is switched off and on; a target is paused and resumed; a bandwidth is changed, and the rate follows."""

import re
import time

from playwright.sync_api import expect

from browser import api, browser, console, figure, panel, polls, rate, row, target, wait_until


def lag_moves(page):
    expect(page.get_by_text("All well")).to_be_visible()
    row(page, "orders", "beijing").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1, name="orders")).to_be_focused()
    lag = figure(panel(page, "beijing"), "Lag")

    def shown():
        text = lag.text_content().replace(",", "")
        return int(text) if text.isdigit() else None

    first = wait_until(page, "the lag is known", shown)
    later = wait_until(page, "the lag rises", lambda: (shown() or 0) > first + 200 and shown())
    # what was written meanwhile, and what was acknowledged
    known = wait_until(page, "the engine knows the lag", lambda: target("orders", "beijing")["lag_records"])
    assert later < known * 1.2 + 500, "more than there is"
    worst = page.get_by_role("table", name="Partitions").locator("tbody tr").first.locator("td").first
    wait_until(page, "its worst partition comes first", lambda: int(worst.text_content().replace(",", "") or 0) > 50)


def a_bad_rate_is_explained_at_its_field(page):
    field = panel(page, "beijing").get_by_label("Bandwidth limit")
    field.fill("fast")
    field.press("Enter")
    expect(panel(page, "beijing").get_by_role("alert")).to_contain_text("such as 20MiB/s")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    # nothing that is new takes what was typed away, or the focus, or closes what is open
    numbers = page.locator("details.numbers").first
    numbers.locator("summary").click()
    field.fill("12")
    polls(page, 3)
    expect(field).to_have_value("12")
    expect(field).to_be_focused()
    expect(numbers).to_have_attribute("open", "")
    assert target("orders", "beijing")["bandwidth"] == "64KiB/s"


def measured(page, seconds):
    """Bytes per second, by the engine's counters."""
    before, began = target("orders", "beijing")["bytes"], time.monotonic()
    page.wait_for_function("began => performance.now() - began > %d" % (seconds * 1000), arg=page.evaluate("performance.now()"))
    return (target("orders", "beijing")["bytes"] - before) / (time.monotonic() - began)


def the_rate_follows_a_bandwidth(page):
    before = measured(page, 4)
    field = panel(page, "beijing").get_by_label("Bandwidth limit")
    field.fill("192KiB/s")
    panel(page, "beijing").get_by_role("button", name="Set the bandwidth of beijing").click()
    expect(page.get_by_text("beijing is limited to 192KiB/s")).to_be_visible()
    expect(panel(page, "beijing")).to_contain_text("192KiB/s was set by hand; the config says 64KiB/s")
    # what was saved up, and what was on its way at the old rate
    wait_until(page, "the new rate is reached", lambda: measured(page, 1) > 150 * 1024)
    after = measured(page, 5)
    print(f"bytes per second: {before:.0f} before, {after:.0f} after")
    assert 45 * 1024 < before < 75 * 1024, before
    assert 150 * 1024 < after < 215 * 1024, after
    written = figure(panel(page, "beijing"), "Written")
    wait_until(page, "the console shows the new rate", lambda: 150 * 1024 < rate(written.text_content()) < 220 * 1024)
    panel(page, "beijing").get_by_role("button", name="Back to 64KiB/s").click()
    expect(panel(page, "beijing")).to_contain_text("as the config says")
    field.fill("unlimited")
    field.press("Enter")
    wait_until(page, "it catches up", lambda: target("orders", "beijing")["lag_records"] in range(500))


def a_target_is_paused_and_resumed(page):
    beijing = panel(page, "beijing")
    beijing.get_by_role("button", name="Pause beijing").click()
    dialog = page.get_by_role("dialog", name="Pause beijing?")
    # it stays open while the page is kept up to date
    polls(page, 2)
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    assert not target("orders", "beijing")["paused"], "nobody said yes"
    beijing.get_by_role("button", name="Pause beijing").click()
    dialog.get_by_role("button", name="Pause", exact=True).click()
    expect(beijing).to_contain_text("paused")
    expect(beijing).to_contain_text("somebody paused it", use_inner_text=True)
    wait_until(page, "its writer has finished", lambda: target("orders", "beijing")["reason"] == "somebody paused it")
    records = target("orders", "beijing")["records"]
    other = target("orders", "shanghai")["records"]
    wait_until(page, "the other target goes on", lambda: target("orders", "shanghai")["records"] > other + 500)
    assert target("orders", "beijing")["records"] == records, "a paused target is not written"
    beijing.get_by_role("button", name="Resume beijing").click()
    wait_until(page, "it goes on", lambda: target("orders", "beijing")["records"] > records)
    events = page.get_by_role("region", name="Events")
    expect(events).to_contain_text("paused by hand")
    expect(events).to_contain_text("resumed by hand")
    events.get_by_label("Target").select_option("shanghai")
    expect(events).not_to_contain_text("paused by hand")


def a_route_is_switched_by_the_keyboard_alone(page):
    page.keyboard.press("Home")
    page.locator("body").focus()
    press_until(page, "Tab", "a.brand")
    page.keyboard.press("Enter")
    expect(page.get_by_role("table", name="Targets of orders")).to_be_visible()
    press_until(page, "Tab", "[role=switch][aria-label='Route orders']")
    switch = page.get_by_role("switch", name="Route orders", exact=True)
    outline = switch.evaluate("node => getComputedStyle(node).outlineStyle")
    assert outline != "none", "the focus is seen"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Switch route orders off?")
    expect(dialog.get_by_role("button", name="Switch off")).to_be_focused()
    page.keyboard.press("Enter")
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(switch).to_be_focused()
    wait_until(page, "it is off", lambda: api("routes/orders")["state"] == "off")
    expect(page.get_by_role("region", name="Route orders", exact=True)).to_contain_text("off")
    expect(page.get_by_role("region", name="How it is")).to_contain_text("switched off; the config says on")
    stood = target("orders", "shanghai")["records"]
    polls(page, 2)
    assert target("orders", "shanghai")["records"] == stood, "it is off"
    page.keyboard.press("Enter")
    expect(switch).to_have_attribute("aria-checked", "true")
    wait_until(page, "it runs again", lambda: api("routes/orders")["state"] == "running")
    wait_until(page, "it copies again", lambda: target("orders", "shanghai")["records"] > stood)


def press_until(page, key, selector):
    for _ in range(60):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{selector} is not reached by {key}")


def the_config_is_read_again(page):
    page.get_by_role("button", name="Reload config").click()
    expect(page.get_by_role("status").filter(has_text="nothing differs")).to_be_visible()
    expect(page.get_by_role("region", name="Lately")).to_contain_text("read again")


def a_chart_is_read_by_the_keyboard(page):
    page.get_by_role("link", name="orders", exact=True).first.click()
    chart = page.get_by_role("slider", name=re.compile("^Lag in records"))
    wait_until(page, "there are samples", lambda: int(chart.get_attribute("aria-valuemax")) >= 2)
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^now: beijing [\d.]+.*, shanghai "))
    chart.focus()
    page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^\d\d:\d\d:\d\d: beijing "))
    page.keyboard.press("Escape")
    expect(chart).to_have_attribute("aria-valuetext", re.compile("^now: "))
    assert chart.locator("path.line").first.get_attribute("d"), "nothing is drawn"


with browser() as launched, console(launched, allowed=["422 (Unprocessable"]) as page:
    page.evaluate("window.loaded = 'once'")
    lag_moves(page)
    a_bad_rate_is_explained_at_its_field(page)
    the_rate_follows_a_bandwidth(page)
    a_target_is_paused_and_resumed(page)
    a_route_is_switched_by_the_keyboard_alone(page)
    the_config_is_read_again(page)
    a_chart_is_read_by_the_keyboard(page)
    assert page.evaluate("window.loaded") == "once", "the page was loaded again"
