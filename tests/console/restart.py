"""The engine goes, and comes back at the same address: the console says so, and goes on by itself."""

import re

from playwright.sync_api import expect

from browser import api, ask_test, browser, console, figure, polls, row, wait_until

# all figures that are ever shown
WATCH = """
window.seen = new Set();
setInterval(() => {
  for (const node of document.querySelectorAll(".totals strong, .targets .number, .plot path")) {
    window.seen.add(node.getAttribute("d") ?? node.textContent);
  }
}, 50);
"""

with browser() as launched, console(launched, allowed=["ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED"]) as page:
    page.evaluate(WATCH)
    expect(page.get_by_text("All well")).to_be_visible()
    expect(page.locator("#contact")).to_contain_text("live")
    wait_until(page, "a rate is shown", lambda: "KiB/s" in figure(page.locator("main"), "Read").text_content())
    page.get_by_role("link", name="Events").click()
    api("routes/payments_audit/start", "POST")
    expect(page.locator(".events")).to_contain_text("switched on by hand")
    page.get_by_role("link", name="Overview", exact=True).click()

    ask_test("stop")
    lost = page.get_by_role("alert").filter(has_text="No contact with the engine since")
    expect(lost).to_be_visible()
    assert re.search(r"since \d\d:\d\d:\d\d", lost.text_content()), lost.text_content()
    expect(row(page, "payments", "beijing")).to_be_visible()

    ask_test("start")
    expect(lost).to_be_hidden()
    expect(page.locator("#contact")).to_contain_text("live")
    expect(row(page, "payments", "beijing")).to_contain_text("running")
    wait_until(page, "a rate is shown again", lambda: "KiB/s" in figure(page.locator("main"), "Read").text_content())
    # what was ordered in the former life is kept, and the stream of events goes on
    expect(page.get_by_role("switch", name="Route payments_audit")).to_have_attribute("aria-checked", "true")
    page.get_by_role("link", name="Events").click()
    expect(page.locator(".events")).to_contain_text("the engine was started again")
    api("routes/payments_audit/stop", "POST")
    expect(page.locator(".events li").filter(has_text="switched off by hand")).to_be_visible()
    expect(page.locator(".events")).to_contain_text("switched on by hand")
    polls(page, 2)
    seen = page.evaluate("[...window.seen]")
    negative = [text for text in seen if re.search(r"^[-−]\s*\d", text.strip())]
    assert not negative, negative
    assert len(seen) > 10, seen
