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


def test_picture_by_keyboard_and_as_a_table(page, articles_page):
    page.goto(f"{articles_page}picture/")
    canvas = page.locator("#picture canvas")
    expect(canvas).to_be_visible()
    expect(page.locator("[data-legend]")).to_contain_text("billing")
    expect(page.locator("[data-words]")).to_contain_text("of how they differ")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    tip = page.locator("[data-tip]")
    first = tip.locator(".strong").inner_text()
    page.keyboard.press("ArrowRight")
    expect(tip.locator(".strong")).not_to_have_text(first)
    # What the point says comes in a moment later.
    expect(tip).to_contain_text("what to check first")
    chosen = tip.locator(".strong").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("code.point-id")).to_have_text(chosen)
    page.goto(f"{articles_page}picture/?color=revision&sample=500")
    page.get_by_text("The same points as a table").click()
    expect(page.locator("#picture tbody tr")).to_have_count(100)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#picture tbody tr")).to_have_count(200)
    assert "color=revision" in page.url
    page.get_by_label("Colour by").select_option("section")
    page.wait_for_url(re.compile("color=section"))
    expect(page.locator("[data-legend] button")).to_have_count(5)
    page.locator("[data-legend] button").first.click()
    expect(page.locator("[data-legend] button").first).to_have_attribute("aria-pressed", "false")


def lines_of(count: int, wrong: tuple[int, ...] = (), padding: int = 0) -> bytes:
    """NDJSON of so many points; those at `wrong` (from 1) have too short a vector."""
    found = []
    for number, point in zip(range(1, count + 1), articles() * 9, strict=False):
        vector = point["vector"][:3] if number in wrong else point["vector"]
        content = point["content"] + " " * padding
        found.append(json.dumps({**point, "id": f"import-{number}", "vector": vector, "content": content}))
    return "\n".join(found).encode()


def test_import_of_a_file_tells_the_lines_that_failed(page, site):
    page.goto(f"/targets/{site.facts['target']}/data/thumbnails/transfer/")
    file = {"name": "points.ndjson", "mimeType": "application/x-ndjson", "buffer": lines_of(300, (7, 251))}
    page.get_by_label("A file from this computer").set_input_files(file)
    page.get_by_label("Into namespace").first.fill("imported")
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_url(re.compile(r"operation=op_"))
    work = page.locator("#work")
    expect(work.locator(".status")).to_contain_text("Succeeded", timeout=45_000)
    expect(work).to_contain_text("298")
    rows = work.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("import-7")
    expect(rows.first).to_contain_text("vector")
    page.goto(f"/targets/{site.facts['target']}/data/thumbnails/namespaces/")
    expect(page.get_by_role("row").filter(has_text="imported")).to_contain_text("298")


def test_upload_goes_on_after_a_refused_part_and_after_a_reload(page, site, tmp_path):
    address = f"/targets/{site.facts['target']}/data/thumbnails/transfer/"
    path = tmp_path / "large.ndjson"
    # Three parts of 4 MiB and a bit.
    path.write_bytes(lines_of(3200, padding=3200))
    sent: list[int] = []

    def part(route):
        offset = int(parse_qs(urlsplit(route.request.url).query)["offset"][0])
        sent.append(offset)
        if offset and sent.count(offset) == 1:
            route.fulfill(status=503, json={"detail": "The replica is being replaced."})
        elif offset > 4 * 2**20 and sent.count(offset) == 2:
            return  # Neither answered nor refused: the page is left while it waits.
        else:
            route.continue_()

    page.route("**/vectors/uploads/*offset=*", part)
    page.goto(address)
    page.get_by_label("A file from this computer").set_input_files(path)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("[data-figures]")).to_contain_text("8.0 MiB of", timeout=30_000)
    with page.expect_request(lambda request: sent.count(8 * 2**20) == 1 and "offset=8388608" in request.url):
        pass
    page.goto(address)
    expect(page.locator("[data-resume]")).to_contain_text("large.ndjson stopped at 8.0 MiB")
    sent.clear()
    page.unroute("**/vectors/uploads/*offset=*")
    page.get_by_label("A file from this computer").set_input_files(path)
    with page.expect_request(re.compile(r"offset=8388608")):
        page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_url(re.compile(r"operation=op_"))
    expect(page.locator("#work .status")).to_contain_text("Succeeded", timeout=60_000)
    expect(page.locator("#work")).to_contain_text("3,200")


def test_export_is_downloaded(page, articles_page):
    page.goto(f"{articles_page}transfer/")
    page.get_by_label("Namespace", exact=True).first.select_option("drafts")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    lines = download.value.path().read_text().splitlines()
    points = [json.loads(line) for line in lines]
    assert {one["namespace"] for one in points if "id" in one} == {"drafts"}
    page.get_by_label("Download as").select_option("parquet")
    expect(page.get_by_label("Vectors")).to_be_hidden()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.path().read_bytes()[:4] == b"PAR1"
