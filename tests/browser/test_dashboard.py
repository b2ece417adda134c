"""The dashboard in a real browser against a real installation."""

import re

from playwright.sync_api import expect

from tests.browser.crawl import pages


def test_sign_in(open_page, site):
    page = open_page(signed_in=False)
    page.goto("/operations/")
    expect(page).to_have_url(re.compile(r"/sign-in/\?next=/operations/"))
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not match")
    expect(page.get_by_label("User name")).to_have_value("admin")
    page.get_by_label("Password").fill(site.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/operations/$"))


def test_overview_says_the_state_in_a_sentence(page, site):
    page.goto("/")
    expect(page.locator(".headline")).to_contain_text("healthy")
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()
    row = page.get_by_role("row").filter(has_text=site.facts["target"])
    expect(row).to_contain_text("2 of 2")


def test_target_from_form_to_ready(page):
    # An account that another test made would have its cluster offered first.
    page.goto("/new-target/?provider=local")
    page.get_by_label("Name").fill("from-browser")
    page.get_by_label("Replicas").fill("99")
    expect(page.locator("#summary")).to_contain_text("99 is greater than the maximum")
    page.get_by_label("Replicas").fill("1")
    expect(page.locator("#summary")).to_contain_text("Database")
    page.get_by_role("button", name="Make the plan").click()
    expect(page.get_by_role("heading", name="Plan for from-browser")).to_be_visible()
    expect(page.locator(".diff .added").first).to_be_visible()
    page.get_by_role("button", name="Apply").click()
    # The page is not loaded again: each step comes in over the stream.
    page.evaluate("window.same = true")
    expect(page.locator(".page-head .status")).to_contain_text("Succeeded", timeout=45_000)
    assert page.evaluate("window.same")
    assert page.locator(".timeline .step").count() >= 3
    page.get_by_role("link", name="Open target").click()
    expect(page.get_by_role("heading", name="from-browser")).to_be_visible()


def test_live_updates_keep_what_the_reader_opened(page, site):
    page.goto("/")
    account = page.locator("header details.menu").last
    account.locator("summary").click()
    with page.expect_response(
        lambda answer: answer.url == f"{site.url}/" and "hx-request" in answer.request.headers
    ):
        pass
    expect(account.locator(".menu-list")).to_be_visible()


def test_progress_moves_and_typed_text_stays_in_updates(page):
    page.goto("/operations/")
    page.evaluate(
        """() => {
          const box = document.createElement("div");
          box.id = "probe";
          box.innerHTML = '<progress max="100" value="10"></progress><input type="text" value="old">';
          document.querySelector("main").append(box);
        }"""
    )
    page.locator("#probe input").fill("typed")
    page.evaluate(
        """() => htmx.swap(
          "#probe",
          '<progress max="100" value="60"></progress><input type="text" value="new">',
          { swapStyle: "morph" },
          { contextElement: document.querySelector("main") })"""
    )
    expect(page.locator("#probe progress")).to_have_attribute("value", "60")
    expect(page.locator("#probe input")).to_have_value("typed")


def test_roll_out_and_cancel(page, site):
    page.goto("/targets/local/")
    expect(page.locator("#target-status .status")).to_contain_text(re.compile("Healthy|Unknown|Degraded"))
    page.get_by_role("link", name="Roll out").click()
    dialog = page.locator("dialog#dialog")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Image").fill("aindusdb/api:latest")
    dialog.get_by_role("button", name="Roll out").click()
    expect(dialog.locator(".error")).to_contain_text("latest")
    dialog.get_by_label("Image").fill("aindusdb/api:0.1.0")
    dialog.get_by_role("button", name="Add a variable").click()
    dialog.get_by_label("Name").last.fill("GREETING")
    dialog.get_by_label("Value").last.fill("hello")
    dialog.get_by_role("button", name="Roll out").click()
    page.wait_for_url(re.compile("/operations/op_"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".page-head .status")).to_contain_text(
        re.compile("Cancelled|Succeeded|Failed"), timeout=45_000
    )


def test_failed_operation_tells_the_cause_first(page, site):
    page.goto(f"/operations/{site.facts['failed_operation']}/")
    expect(page.get_by_role("alert")).to_contain_text("AINDUS_LOG_LEVEL")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_logs_follow(page, site):
    page.goto(f"/targets/{site.facts['target']}/logs/?range=all")
    lines = page.locator(".log-line")
    expect(lines.first).to_be_visible()
    before = lines.count()
    page.get_by_role("button", name="Follow").click()
    other = page.context.new_page()
    other.goto(f"/targets/{site.facts['target']}/data/articles/search/?by=id&id={site.facts['point']}")
    other.close()
    expect(lines.nth(before)).to_be_attached(timeout=15_000)
    assert "follow=1" in page.url
    page.goto(f"/targets/{site.facts['target']}/logs/?range=all&q=query")
    expect(page.locator(".log-line mark").first).to_have_text("query")


def test_destroy_dialog(page):
    page.goto("/targets/catalog/settings/")
    page.get_by_role("link", name="Destroy catalog").click()
    expect(page.locator("dialog#dialog")).to_contain_text("Deletion protection is on")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Switch protection off").click()
    page.get_by_role("link", name="Destroy catalog").click()
    dialog = page.locator("dialog#dialog")
    button = dialog.get_by_role("button", name="Destroy catalog")
    expect(button).to_be_disabled()
    dialog.get_by_label("Type catalog to confirm").fill("catalog")
    expect(button).to_be_enabled()
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()


def test_keyboard(page):
    page.goto("/")
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page).to_have_url(re.compile("/targets/$"))
    page.keyboard.press("/")
    expect(page.get_by_label("Filter by name or region")).to_be_focused()
    page.keyboard.press("Escape")
    page.locator("main").focus()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("docs logs")
    expect(page.locator("#palette-results a").first).to_contain_text("logs")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/targets/docs-search/logs/"))


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return Array.from(canvas.getImageData(0, 0, 1, 1).data);
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) =>
      (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = rgb(getComputedStyle(one).backgroundColor);
      if (found[3] > 250) return found;
    }
    return [255, 255, 255, 255];
  };
  const weak = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const seen = element.checkVisibility({ visibilityProperty: true });
    if (!seen || !walker.currentNode.nodeValue.trim()) continue;
    if (element.closest("[disabled], [aria-disabled=true], svg, option, script")) continue;
    const a = light(rgb(getComputedStyle(element).color)), b = light(behind(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const text = walker.currentNode.nodeValue.trim().slice(0, 40);
    if (ratio < 4.5) weak.push(element.className + ": " + text + " " + ratio.toFixed(2));
  }
  return weak;
}"""


def test_every_page_is_narrow_and_readable(open_page, site):
    """No page scrolls sideways at 390 px, and text reaches 4.5:1 on each, in both themes."""
    page = open_page(width=390, height=844)
    found = {}
    for name, address in pages(site.facts):
        page.goto(address)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            found[name, "width"] = width
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            if weak := page.evaluate(CONTRAST):
                found[name, scheme] = weak
    assert found == {}


def test_theme_choice(page):
    page.goto("/settings/appearance/")
    page.get_by_role("radio", name="Dark Light text").check()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 20, 24)"
    page.get_by_role("radio", name="Like the system").check()
