"""A rollout over a fleet, from its dialog to the report, in a real browser."""

import re

from playwright.sync_api import expect


def test_a_report_tells_where_it_stopped(page, site):
    page.goto("/fleets/")
    page.get_by_role("link", name=site.facts["fleet"], exact=True).click()
    expect(page.get_by_role("row").filter(has_text="catalog").first).to_contain_text("Secondary")
    page.goto(f"/fleet-rollouts/{site.facts['fleet_rollout']}/")
    expect(page.locator(".page-head .status")).to_contain_text("Failed")
    expect(page.get_by_role("alert")).to_contain_text("staging is pending")
    row = page.get_by_role("row").filter(has_text="catalog")
    expect(row).to_contain_text("Moved")
    row.get_by_role("link", name="rollout").click()
    expect(page).to_have_url(re.compile("/rollouts/rol_"))


def test_a_fleet_is_made_rolled_out_to_and_aborted(page, site):
    page.goto("/new-fleet/")
    page.get_by_label("Name", exact=True).fill("pair")
    page.get_by_label("Target", exact=True).first.select_option("local")
    page.get_by_role("button", name="Add a target").click()
    page.get_by_label("Target", exact=True).last.select_option("catalog")
    page.get_by_role("button", name="Move up").last.click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="pair")).to_be_visible()
    expect(page.get_by_role("row").nth(1)).to_contain_text("catalog")
    page.get_by_role("link", name="Roll out").click()
    dialog = page.locator("dialog#dialog")
    dialog.get_by_label("Image").fill("aindusdb/api:latest")
    dialog.get_by_role("button", name="Roll out").click()
    expect(dialog.locator(".error")).to_contain_text("latest")
    dialog.get_by_label("Image").fill("aindusdb/api:0.1.0")
    dialog.get_by_label("Then at once").fill("2")
    dialog.get_by_label("Note").fill("For both")
    dialog.get_by_label("Threads").fill("3")
    dialog.get_by_role("button", name="Roll out").click()
    page.wait_for_url(re.compile("/fleet-rollouts/frl_"))
    expect(page.get_by_role("row").filter(has_text="catalog")).to_contain_text("Moving")
    page.get_by_role("button", name="Abort everywhere").click()
    # The page is not loaded again: the report comes in by itself.
    expect(page.locator(".page-head .status")).to_contain_text("Cancelled", timeout=45_000)
    expect(page.get_by_role("row").filter(has_text="local")).to_contain_text("Not reached")
    expect(page.get_by_role("row").filter(has_text="catalog")).to_contain_text(
        re.compile("Cancelled|Rolled back")
    )
