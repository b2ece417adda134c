"""Backups in a real browser, of a target whose backup was made and proven."""

import re

from playwright.sync_api import expect


def test_a_backup_is_shown_and_read_back_again(page, site):
    page.goto(f"/targets/{site.facts['target']}/")
    page.get_by_role("link", name="Backups").click()
    row = page.get_by_role("region", name="Backups").get_by_role("row").filter(has_text="Proven")
    expect(row.first).to_be_visible(timeout=45_000)
    expect(page.locator("#live")).to_contain_text("Europe/Paris")
    row.first.get_by_role("link").click()
    expect(page.get_by_role("region", name="Collections of the backup")).to_contain_text("articles")
    expect(page.locator("#live")).to_contain_text("exact answers equal")
    page.get_by_role("link", name="Restore").click()
    dialog = page.locator("dialog#dialog")
    dialog.get_by_label("itself").check()
    dialog.get_by_role("button", name="Restore").click()
    expect(dialog.locator(".error").first).to_contain_text("confirm")
    dialog.get_by_label("Prove it alone").check()
    dialog.get_by_role("button", name="Restore").click()
    page.wait_for_url(re.compile("/operations/op_"))
    expect(page.locator(".page-head .status")).to_contain_text("Succeeded", timeout=45_000)


def test_a_schedule_says_what_is_wrong_with_it(page, site):
    page.goto(f"/targets/{site.facts['second']}/backups/")
    expect(page.get_by_text("No backups yet")).to_be_visible()
    page.get_by_role("link", name="Schedule").click()
    page.get_by_label("Cron expression").fill("61 3 * * *")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".error").first).to_contain_text("not within 0 and 59")
    page.get_by_label("Cron expression").fill("15 4 * * sun")
    page.get_by_label("Time zone").select_option("Asia/Tokyo")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#live")).to_contain_text("15 4 * * sun")
