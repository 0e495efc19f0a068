"""A token is asked for once, and kept for the tab."""

from playwright.sync_api import expect

from browser import ARGUMENTS, URL, browser, console

TOKEN = ARGUMENTS[0]

with browser() as launched, console(launched, allowed=["401 (Unauthorized)"]) as page:
    dialog = page.get_by_role("dialog", name="This engine wants a token")
    field = dialog.get_by_label("Token")
    expect(field).to_be_focused()
    assert "guangzhou" not in page.content(), "nothing is shown without it"
    field.fill("not this one")
    field.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("This is not the token of this engine")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    field.fill(TOKEN)
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("table", name="Targets of stock")).to_be_visible()
    # the stream of events, which shows the token too, is heard
    page.get_by_role("link", name="Events").click()
    expect(page.locator(".events li").first).to_be_visible()
    page.reload()
    expect(page.locator(".events li").first).to_be_visible()
    expect(dialog).to_be_hidden()
    kept = page.evaluate("[JSON.stringify(localStorage), document.cookie, location.href, document.documentElement.outerHTML]")
    assert not any(TOKEN in text for text in kept), "it is kept in the tab's own storage alone"
    page.get_by_role("button", name="Forget token").click()
    expect(dialog).to_be_visible()
