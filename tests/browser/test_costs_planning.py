"""Estimates, budgets and recommendations in a real browser."""

import re

from playwright.sync_api import expect


def test_an_estimate_follows_its_form(page):
    page.goto("/costs/")
    page.get_by_role("link", name="Estimates", exact=True).click()
    page.get_by_label("Cloud").select_option("gcp")
    expect(page).to_have_url(re.compile("cloud=gcp"))
    page.get_by_label("Preset").select_option("source")
    expect(page).to_have_url(re.compile("preset=source"))
    total = page.locator(".figure .value").first
    expect(total).to_contain_text("USD")
    before = total.inner_text()
    page.get_by_label("Quantity of line 2").fill("6")
    page.get_by_role("button", name="Price it again").click()
    expect(total).not_to_have_text(before)
    page.get_by_label("Name").fill("twice the nodes")
    page.get_by_role("button", name="Keep the estimate").click()
    expect(page.get_by_role("heading", name="twice the nodes")).to_be_visible()


def test_a_budget_is_made_and_stands(page):
    page.goto("/costs/budgets/")
    page.get_by_role("link", name="New budget").click()
    page.get_by_label("Name").fill("from-browser")
    page.get_by_label("Amount").fill("a lot")
    page.get_by_role("button", name="Make the budget").click()
    expect(page.locator(".error")).to_contain_text("The amount is a number")
    page.get_by_label("Amount").fill("100000")
    page.get_by_role("button", name="Make the budget").click()
    expect(page.get_by_role("heading", name="from-browser")).to_contain_text("Within the budget")
    expect(page.get_by_text("Not reached")).to_have_count(4)


def test_a_recommendation_is_dismissed_and_taken_back(page):
    page.goto("/costs/recommendations/?type=unused_address")
    page.get_by_role("link", name="Unused address").click()
    page.locator("main").get_by_role("button", name="Dismiss").click()
    expect(page.locator(".toast")).to_contain_text("Say why")
    page.get_by_label("Reason").fill("Kept for the move")
    page.locator("main").get_by_role("button", name="Dismiss").click()
    expect(page.locator("main")).to_contain_text("Kept for the move")
    page.get_by_role("button", name="Take that back").click()
    expect(page.get_by_role("button", name="Accept")).to_be_visible()
