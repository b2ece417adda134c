"""Collections, points, searches and what is done to them, in a real browser on real data."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.seed import articles


@pytest.fixture
def articles_page(site):
    return f"/targets/{site.facts['target']}/data/articles/"


def test_collections_are_filtered_and_searched(page, site):
    page.goto(f"/targets/{site.facts['target']}/data/")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    # The latest recall comes in after the page.
    expect(rows.filter(has_text="articles-live").locator("[data-label=Recall]")).to_contain_text("%")
    page.keyboard.press("/")
    page.keyboard.type("l2")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("thumbnails")


def test_collection_from_dialog_to_deleted(page, site):
    page.goto(f"/targets/{site.facts['target']}/data/")
    page.get_by_role("link", name="New collection").click()
    dialog = page.locator("dialog#dialog")
    dialog.get_by_label("Name").fill("from-browser")
    dialog.get_by_label("Dimensions").fill("8")
    dialog.get_by_label("m", exact=True).fill("1")
    dialog.get_by_role("button", name="Make the collection").click()
    expect(dialog.locator("#m-error")).to_contain_text("between 2 and 100")
    expect(dialog.get_by_label("Name")).to_have_value("from-browser")
    dialog.get_by_label("m", exact=True).fill("8")
    dialog.get_by_label("Index", exact=True).select_option("flat")
    expect(dialog.get_by_label("ef_construction")).to_be_hidden()
    dialog.get_by_role("button", name="Make the collection").click()
    page.wait_for_url(re.compile("/data/from-browser/$"))
    expect(page.get_by_role("heading", name="from-browser")).to_be_visible()
    page.get_by_role("link", name="Settings", exact=True).last.click()
    page.get_by_role("link", name="Delete from-browser").click()
    button = dialog.get_by_role("button", name="Delete from-browser")
    expect(button).to_be_disabled()
    dialog.get_by_label("Type from-browser to confirm").fill("from-browser")
    button.click()
    page.wait_for_url(re.compile("/data/$"))
    expect(page.locator("tbody")).not_to_contain_text("from-browser")


def test_filter_is_built_from_rows_and_kept_in_the_address(page, site, articles_page):
    page.goto(f"{articles_page}search/")
    page.get_by_label("Point id").fill(site.facts["point"])
    page.get_by_role("button", name="Condition", exact=True).click()
    page.get_by_label("Field").fill("section")
    page.get_by_label("Value", exact=True).fill("network")
    page.get_by_role("button", name="Condition", exact=True).click()
    page.get_by_label("Field").last.fill("revision")
    page.get_by_label("Operator").last.select_option("≥")
    # The type comes from what the collection holds.
    expect(page.get_by_label("Type of the value").last).to_have_value("number")
    page.get_by_label("Value", exact=True).last.fill("5")
    page.get_by_role("button", name="Search", exact=True).click()
    results = page.locator(".result")
    expect(results.first).to_contain_text("section: network")
    expect(page.locator(".timings")).to_contain_text("Round trip")
    query = parse_qs(urlsplit(page.url).query)
    assert json.loads(query["filter"][0]) == {"section": "network", "revision": {"$gte": 5}}
    for text in results.all_inner_texts():
        assert re.search("revision: [567]", text)
    # The address alone brings all of it back.
    page.goto(page.url)
    expect(page.get_by_label("Value", exact=True).last).to_have_value("5")
    page.get_by_label("All or any").select_option("any of")
    page.get_by_role("button", name="As JSON").click()
    expect(page.get_by_label("Filter", exact=True)).to_have_value(
        '{"$or":[{"section":"network"},{"revision":{"$gte":5}}]}'
    )
    page.get_by_label("Filter", exact=True).fill("{no json")
    page.get_by_role("button", name="As rows").click()
    expect(page.locator("[data-filter-help]")).to_contain_text("Rows cannot show this filter")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#filter-error")).to_contain_text("not JSON")
    expect(page.get_by_label("Filter", exact=True)).to_have_value("{no json")


def test_groups_of_conditions_survive_the_way_there_and_back(page, articles_page):
    wanted = {"$or": [{"section": "api"}, {"revision": {"$in": [1, 2]}, "language": {"$exists": True}}]}
    page.goto(f"{articles_page}points/?filter={json.dumps(wanted)}")
    expect(page.locator(".filter-group .filter-group")).to_have_count(1)
    expect(page.get_by_label("Values, parted by commas")).to_have_value("1, 2")
    page.get_by_role("button", name="Show").click()
    assert json.loads(parse_qs(urlsplit(page.url).query)["filter"][0]) == wanted
    page.get_by_role("button", name="Remove the group").click()
    page.get_by_role("button", name="Show").click()
    assert json.loads(parse_qs(urlsplit(page.url).query)["filter"][0]) == {"section": "api"}
    expect(page.locator("table.points tbody tr").first).to_contain_text("section: api")


def test_search_by_a_pasted_vector(page, articles_page):
    page.goto(f"{articles_page}search/")
    page.get_by_label("Search by").select_option("A vector")
    point = articles()[7]
    page.get_by_label("Vector", exact=True).first.fill("[0.1, 0.2]")
    expect(page.locator("[data-vector-count]")).to_have_text("2 of 64 numbers")
    page.get_by_label("Vector", exact=True).first.fill(json.dumps(point["vector"]))
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".result").first).to_contain_text(point["id"])
    assert "vector_b64=" in page.url
    expect(page.locator("#call-python")).to_contain_text("aindusdb_client")
    whole = page.get_by_role("button", name="Copy the JSON call").get_attribute("data-copy")
    assert len(json.loads(whole)["vector"]) == 64
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".result").first).not_to_contain_text(point["id"])
    page.get_by_role("link", name="First page").click()
    expect(page.locator(".result").first).to_contain_text(point["id"])


def test_point_is_found_changed_and_deleted(page, articles_page):
    page.goto(f"{articles_page}points/?namespace=drafts")
    page.locator("table.points tbody th a").last.click()
    expect(page.locator("svg.vector rect").first).to_be_attached()
    page.get_by_label("Metadata").fill("{")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#metadata-error")).to_contain_text("not JSON")
    page.get_by_label("Metadata").fill('{"section": "data", "checked": true}')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Metadata")).to_have_value(re.compile('"checked": true'))
    name = page.locator("code.point-id").inner_text()
    page.get_by_role("link", name="Delete").click()
    page.locator("dialog#dialog").get_by_label("to confirm").fill(name)
    page.get_by_role("button", name="Delete the point").click()
    page.wait_for_url(re.compile("/points/$"))


def test_index_is_built_as_an_operation(page, site):
    tickets = f"/targets/{site.facts['target']}/data/tickets/"
    page.goto(tickets)
    page.get_by_role("link", name="Build", exact=True).click()
    dialog = page.locator("dialog#dialog")
    dialog.get_by_label("m", exact=True).fill("8")
    dialog.get_by_role("button", name="See what it needs").click()
    expect(dialog).to_contain_text("Memory needed")
    dialog.get_by_role("button", name="Build now").click()
    page.wait_for_url(re.compile("/operations/op_"))
    expect(
        page.get_by_role("heading", name=re.compile("Index build of tickets on docs-search"))
    ).to_be_visible()
    expect(page.locator(".page-head .status")).to_contain_text("Succeeded", timeout=45_000)
    page.goto(tickets)
    expect(page.locator("#live")).to_contain_text("Index build of tickets")
    expect(page.locator("#live .facts")).to_contain_text("8")


def test_recall_is_shown_over_time(page, articles_page):
    page.goto(f"{articles_page}recall/")
    chart = page.locator("#recall-chart svg.plot")
    expect(chart.locator("path.asked")).to_be_attached()
    chart.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".chart-tip")).to_contain_text("asked 95 %")


def test_alias_is_switched_after_a_word_of_warning(page, site, articles_page):
    page.goto(f"/targets/{site.facts['target']}/data/thumbnails/settings/")
    page.get_by_role("link", name="Add or switch").click()
    dialog = page.locator("dialog#dialog")
    dialog.get_by_label("Alias").fill("pictures-live")
    dialog.get_by_role("button", name="Save the alias").click()
    expect(page.locator("main")).to_contain_text("pictures-live")
    page.goto(f"/targets/{site.facts['target']}/data/tickets/settings/")
    page.get_by_role("link", name="Add or switch").click()
    dialog.get_by_label("Alias").fill("pictures-live")
    dialog.get_by_role("button", name="Save the alias").click()
    expect(dialog.get_by_role("alert")).to_contain_text("pictures-live stands for thumbnails now")
    dialog.get_by_role("button", name="Switch pictures-live to tickets").click()
    page.get_by_role("button", name="Remove alias pictures-live").click()
    expect(page.locator(".toast")).to_contain_text("the collection stays")
