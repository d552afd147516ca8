"""The page in a real headless browser: opened, sorted, filtered, hovered, by mouse and keys."""

import os
import re
import shutil

import pytest

from experiments.reporting import write_report
from experiments.reporting.compare import compare
from experiments.reporting.compare.near_dense import pareto_front
from experiments.reporting.trials import read_runs
from tests.experiments.reporting import folders
from tests.experiments.reporting.compare.test_learning_rates import write_grid

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the page is tested where Playwright and Chromium are installed"
)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page with")


@pytest.fixture(scope="module")
def browser():
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(finished_report):
    return (finished_report / "index.html").as_uri()


def open_page(browser, url, **options):
    """Opens a page on which any error, any warning and any request beyond it fails the test."""
    page = browser.new_page(viewport={"width": 1300, "height": 900}, **options)
    page.set_default_timeout(8_000)
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda r: page.complaints.append(r.url) if r.url[:5] != "data:" else None)
    page.goto(url)
    assert page.complaints == [url]
    return page


@pytest.fixture
def page(browser, url):
    page = open_page(browser, url)
    yield page
    assert page.complaints == [url]
    page.close()


def column(page, name, table="groups"):
    """Returns the visible cells below a head."""
    heads = page.locator(f"table.{table} thead th").all_inner_texts()
    index = [" ".join(head.split()) for head in heads].index(name)
    cells = page.locator(f"table.{table} tbody tr:visible td:nth-child({index + 1})")
    return [text.strip() for text in cells.all_inner_texts()]


def sort_by(page, name, table="groups"):
    page.locator(f"table.{table} thead").get_by_role("button", name=name, exact=True).click()


def numbers(texts):
    return [float(text.split("%")[0].replace(",", "")) for text in texts]


def point(page, label):
    return page.locator(f'.point[aria-label^="{label} "]')


def test_a_click_on_a_head_sorts_by_number_and_another_turns_it_round(page):
    sort_by(page, "test error")
    errors = numbers(column(page, "test error"))
    assert errors == sorted(errors)
    assert len(errors) == len(folders.CASES)
    sort_by(page, "test error")
    assert numbers(column(page, "test error")) == errors[::-1]
    head = page.locator("table.groups thead th", has_text="test error")
    assert head.get_attribute("aria-sort") == "descending"
    sort_by(page, "layer parameters")
    assert numbers(column(page, "layer parameters"))[-1] == 400_000
    assert head.get_attribute("aria-sort") is None


def test_the_filter_keeps_rows_with_all_words_and_fades_the_other_points(page):
    box = page.locator("[data-part=group-filter]")
    box.locator("input").fill("kfc 2:")
    structures = column(page, "structure")
    assert structures
    assert all("2:" in structure for structure in structures)
    assert box.get_by_role("status").inner_text() == f"{len(structures)} of 18 shown"
    faded = page.locator(".point.faded").count()
    assert faded == page.locator(".point").count() - len(structures)
    box.locator("input").fill("")
    box.locator("select").select_option("low_rank")
    assert column(page, "method") == ["low rank"] * 5


def test_trials_are_filtered_and_sorted_too(page):
    page.locator("#trial-filter input").fill("rank=10 seed=2")
    assert column(page, "seed", "trials") == ["2"]
    page.locator("#trial-filter input").fill("")
    sort_by(page, "total parameters", "trials")
    assert column(page, "structure", "trials")[:3] == ["4:8x5*10x10*10x10"] * 3


def test_hovering_over_a_point_says_structure_sizes_error_and_command(page, finished_sweep):
    (comparison,) = compare(read_runs([finished_sweep]))
    (group,) = [g for g in comparison.groups.itertuples() if g.structure == "4:20x25*40x20"]
    tip = page.locator("[data-part=tip]")
    assert not tip.is_visible()
    point(page, "4:20x25*40x20").hover()
    text = tip.inner_text()
    for part in (
        "4:20x25*40x20",
        f"{group.test_error:.2%} ± {group.test_error_std * 100:.2f} (3 seeds)",
        "36,280 total parameters (91.58% fewer than dense)",
        "5,200 parameters of fc1 (98.70% fewer than dense)",
        "'--config.model.fc1.structure=4:20x25*40x20'",
    ):
        assert part in text
    page.mouse.move(5, 5)
    assert not tip.is_visible()


def test_a_point_is_reached_and_chosen_with_the_keyboard(page):
    page.locator(".legend input").last.focus()
    page.keyboard.press("Tab")
    assert page.locator("[data-part=tip]").is_visible()
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Enter")
    row = page.locator("tr.chosen")
    assert row.count() == 1
    assert label.split()[0].rstrip(",") in row.inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("[data-part=tip]").is_visible()


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("size", ["parameters", "flops", "layer_parameters"])
def test_axes_split_and_front_are_what_is_asked_for(page, finished_sweep, split, size):
    (comparison,) = compare(read_runs([finished_sweep]))
    page.locator("[data-part=size]").select_option(size)
    page.locator("[data-part=split]").select_option(split)
    plot = page.locator("[data-part=plot]").inner_text()
    assert comparison.size_label(size) in plot
    assert f"{split} error" in plot
    front = list(pareto_front(comparison.on(split), size).label)
    labels = page.locator(".point:has(.front)").evaluate_all(
        "nodes => nodes.map(node => node.getAttribute('aria-label'))"
    )
    ringed = {label.split("  ")[0].split(" , ")[0] for label in labels}
    assert ringed == set(front) - ({"dense"} if size != "flops" else set())


def test_points_lie_where_their_numbers_say(page):
    """Two points of one size lie above each other, and the higher error is higher."""
    places = {
        label: page.locator(f'.point[aria-label^="{label} "] .shape').bounding_box()
        for label in ("2:20x25*40x20", "low rank, rank 2", "low rank, rank 10")
    }
    left, same, right = places.values()
    assert left["x"] == pytest.approx(same["x"], abs=1)
    assert same["y"] < left["y"]
    assert right["x"] > left["x"]


def test_the_headline_follows_the_tolerance(page):
    said = page.locator("[data-part=headline]")
    assert "No low-rank model is within 0.1 points" in said.inner_text()
    page.locator("[data-part=points]").select_option("0.5")
    assert "The smallest low-rank model within 0.5 points" in said.inner_text()
    assert said.locator("code").count() >= 2


def test_a_method_that_is_switched_off_leaves_the_plot(page):
    before = page.locator(".point").count()
    page.locator(".legend label", has_text="low rank").locator("input").uncheck()
    assert page.locator(".point").count() == before - 5


def test_a_link_leads_to_the_folder_of_the_trial(page):
    page.locator("table.trials a", has_text="fc1.kind=low_rank,fc1.rank=3,seed=1").click()
    page.wait_for_load_state()
    assert "result.json" in page.content()
    page.go_back()
    page.complaints[:] = page.complaints[:1]


@pytest.mark.parametrize(
    "options",
    [{"color_scheme": "dark"}, {"forced_colors": "active"}, {"java_script_enabled": False}],
)
def test_the_page_can_be_read_in_the_dark_and_without_scripts(browser, url, options):
    page = open_page(browser, url, **options)
    assert len(column(page, "structure")) == len(folders.CASES)
    if options.get("color_scheme") == "dark":
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, ground[4:-1].split(","))) < 150
    if options.get("java_script_enabled") is False:
        assert page.locator("noscript img").is_visible()
        assert not page.locator("select").first.is_visible()
    page.close()


def test_a_phone_scrolls_tables_and_not_the_page(browser, url):
    page = open_page(browser, url)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


WIDTHS = pytest.mark.parametrize("width", [1300, 390])


def boxes(page, selector):
    """Returns left, top, right and bottom of everything that is chosen."""
    return page.locator(selector).evaluate_all(
        "nodes => nodes.map(node => node.getBoundingClientRect())"
        ".map(box => [box.left, box.top, box.right, box.bottom])"
    )


def overlap(a, b, slack=1.0):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width > slack and height > slack


@WIDTHS
def test_long_names_of_trials_stay_in_their_column(browser, tmp_path, width):
    name = "fc1.kind=low_rank,fc1.rank=3,optimizer.learning_rate=0.002,train.num_epochs=12"
    folders.write_run(tmp_path / "s" / name, folders.low_rank(3), 0, {"test": 0.02})
    write_report([tmp_path / "s"], tmp_path / "report")
    page = open_page(browser, (tmp_path / "report" / "index.html").as_uri())
    page.set_viewport_size({"width": width, "height": 900})
    ((_, _, right, _),) = boxes(page, "table.trials a")
    ((left, *_),) = boxes(page, "table.trials tbody td:nth-child(3)")
    assert right <= left
    page.close()


@WIDTHS
def test_lines_of_the_plot_are_explained_where_nothing_prints_over_them(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    texts = page.locator("[data-part=lines] > span").all_inner_texts()
    assert re.fullmatch(r"dense: 0\.\d\d%, 431k, beyond the right edge", texts[0])
    assert texts[1] == "dense + 0.1 points"
    assert "dense" not in page.locator("[data-part=plot]").inner_text()
    (plot,) = boxes(page, "[data-part=plot]")
    explained = boxes(page, "[data-part=lines] > span")
    for i, box in enumerate(explained):
        assert box[2] <= width
        assert not any(overlap(box, other) for other in [plot, *explained[:i]])


@WIDTHS
def test_points_carry_names_and_no_name_prints_over_another_thing(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    texts = page.locator(".plot svg text.name").all_text_contents()
    key = dict(
        text.split(" = ") for text in page.locator("[data-part=key] > span").all_inner_texts()
    )
    named = {key.get(text, text) for text in texts}
    front = page.locator(".point:has(.front)").evaluate_all(
        "nodes => nodes.map(node => node.getAttribute('aria-label').split('  ')[0])"
    )
    assert len(front) > 3
    assert {label.split(" , ")[0].split(", ")[0] for label in front} <= named
    if width == 1300:
        assert len(texts) >= 0.8 * page.locator(".point").count()
    names = boxes(page, ".plot svg text.name")
    marks = boxes(page, ".plot .shape") + boxes(page, ".plot .ruled")
    (box,) = boxes(page, ".plot .axis")
    for i, name in enumerate(names):
        assert not any(overlap(name, other) for other in names[:i])
        assert not any(overlap(name, mark) for mark in marks), texts[i]
        assert box[0] <= name[0] < name[2] <= box[2] + 1
        assert box[1] - 1 <= name[1] < name[3] <= box[3]


def test_a_number_in_the_filter_is_a_whole_one(browser, tmp_path):
    cases = [(folders.low_rank(rank), 0.02) for rank in (1, 3, 5, 10, 15)]
    sweep = folders.write_sweep(tmp_path / "s", [(folders.DENSE, 0.01), *cases], (0, 1, 15))
    write_report([sweep], tmp_path / "report")
    page = open_page(browser, (tmp_path / "report" / "index.html").as_uri())
    box = page.locator("[data-part=group-filter] input")
    for text, structures in (
        ("rank 1", ["rank 1"]),
        ("low rank 15", ["rank 15"]),
        ("rank", [f"rank {rank}" for rank in (1, 3, 5, 10, 15)]),
    ):
        box.fill(text)
        assert column(page, "structure") == structures
    page.locator("#trial-filter input").fill("rank=1 seed=1")
    assert column(page, "structure", "trials") == ["rank 1"]
    assert column(page, "seed", "trials") == ["1"]
    page.close()


@WIDTHS
@pytest.mark.parametrize("is_log", [True, False])
def test_one_outlier_does_not_flatten_the_plot(browser, tmp_path, width, is_log):
    cases = [(fc, 0.35 if fc == folders.low_rank(1) else error) for fc, error in folders.CASES]
    write_report([folders.write_sweep(tmp_path / "s", cases)], tmp_path / "report")
    page = open_page(browser, (tmp_path / "report" / "index.html").as_uri())
    page.set_viewport_size({"width": width, "height": 900})
    page.locator("[data-part=log]").set_checked(is_log)
    ((_, top, _, bottom),) = boxes(page, ".plot .axis")
    middles = sorted((box[1] + box[3]) / 2 for box in boxes(page, ".plot .shape"))
    # From the lowest point to the one that a quarter of all lie above.
    used = middles[-1] - middles[len(middles) // 4]
    assert used > 0.18 * (bottom - top)
    (out,) = boxes(page, '.point[aria-label^="low rank, rank 1 "] .shape.out')
    ((_, cut, _, _),) = boxes(page, ".plot .cut")
    assert top <= out[1] < out[3] < cut
    shown = (
        page.locator("[data-part=plot]").inner_text() + page.locator("[data-part=key]").inner_text()
    )
    assert re.search(r"low rank, rank 1: 3\d(\.\d)?% ↑", shown)
    page.close()


def test_every_table_sorts(page):
    tables = page.locator("section table")
    assert tables.count() > 3
    for i in range(tables.count()):
        head = tables.nth(i).locator("thead th").last
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"


def test_a_print_in_the_dark_is_on_white(browser, url):
    page = open_page(browser, url, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    fills = page.locator(".shape").evaluate_all("nodes => nodes.map(n => n.getAttribute('fill'))")
    assert "#0072b2" in fills
    assert page.locator(".lines").is_visible()
    page.close()


def test_a_hostile_name_stays_text(browser, tmp_path):
    name = '</script><img src=x onerror="alert(1)">'
    sweep = folders.write_sweep(
        tmp_path / "s", [(folders.DENSE, 0.01), (folders.low_rank(1), 0.02)], (0,), data=name
    )
    write_report([sweep], tmp_path / "report")
    page = open_page(browser, (tmp_path / "report" / "index.html").as_uri())
    assert page.locator("img[src=x]").count() == 0
    assert name in page.locator("h2").first.inner_text()
    page.close()


def test_the_table_of_learning_rates_sorts(browser, tmp_path):
    write_report([write_grid(tmp_path / "grid")], tmp_path / "report")
    page = open_page(browser, (tmp_path / "report" / "index.html").as_uri())
    sort_by(page, "best rate", "rates")
    rates = numbers(column(page, "best rate", "rates"))
    assert rates == sorted(rates)
    assert len(set(rates)) == 3
    page.close()


BOXES = """(selector) => [...document.querySelectorAll(selector)].map((node) => {
  const box = node.getBoundingClientRect();
  const { left, right, top, bottom } = box;
  return { text: node.textContent, left, right, top, bottom };
})"""


def named_boxes(page, selector):
    return page.evaluate(BOXES, selector)


def overlaps(a, b, by=1.0):
    return (
        a["left"] + by < b["right"]
        and b["left"] + by < a["right"]
        and a["top"] + by < b["bottom"]
        and b["top"] + by < a["bottom"]
    )


def test_rank_1_finds_no_rank_15_and_no_seed_1(browser, tmp_path):
    cases = [(folders.DENSE, 0.01), *((folders.low_rank(rank), 0.1 / rank) for rank in (1, 3, 15))]
    folders.write_sweep(tmp_path / "sweep", cases)
    write_report([tmp_path / "sweep"], tmp_path / "report")
    page = open_page(browser, (tmp_path / "report" / "index.html").as_uri())
    for query, found in (("rank 1", ["rank 1"]), ("rank 15", ["rank 15"]), ("rank", 3)):
        page.locator("[data-part=group-filter] input").fill(query)
        structures = column(page, "structure")
        assert structures == found if isinstance(found, list) else len(structures) == found
    page.close()


@pytest.mark.parametrize("width", [1300, 390])
def test_nothing_in_the_plot_is_printed_over_something_else(browser, url, width):
    page = open_page(browser, url)
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(200)
    names = named_boxes(page, ".plot text.name") + [
        box for box in named_boxes(page, ".plot text.soft") if "dense" in box["text"]
    ]
    points = named_boxes(page, ".plot .point .shape")
    axis = named_boxes(page, ".plot .axis")[0]
    assert len(names) >= (10 if width > 1000 else 3)
    for number, name in enumerate(names):
        assert name["bottom"] <= axis["bottom"] + 1  # no axis runs through it
        assert not any(overlaps(name, other) for other in names[number + 1 :])
        assert not any(overlaps(name, point) for point in points)
    page.close()


def test_points_of_the_front_have_names_before_anything_is_hovered(page):
    named = {box["text"] for box in named_boxes(page, ".plot text.name")}
    labels = page.locator('.point[aria-label$=", on the Pareto front"]').evaluate_all(
        "nodes => nodes.map((node) => node.getAttribute('aria-label').split(/[ ,]/)[0])"
    )
    assert labels
    assert sum(label in named for label in labels) >= 0.75 * len(labels)


def test_an_outlier_does_not_flatten_the_other_points(browser, tmp_path):
    cases = [(fc, error) for fc, error in folders.CASES if error < 0.02]
    folders.write_sweep(tmp_path / "sweep", [*cases, (folders.low_rank(1), 0.35)])
    write_report([tmp_path / "sweep"], tmp_path / "report")
    page = open_page(browser, (tmp_path / "report" / "index.html").as_uri())
    plot, points = (
        named_boxes(page, ".plot .axis")[0],
        named_boxes(page, ".plot .point:not([data-off]) .shape"),
    )
    used = max(box["bottom"] for box in points) - min(box["top"] for box in points)
    assert used > 0.6 * (plot["bottom"] - plot["top"])
    (name,) = (box for box in named_boxes(page, ".plot text.name") if "rank 1:" in box["text"])
    assert "↑" in name["text"]
    assert point(page, "low rank, rank 1").get_attribute("data-off") == "true"
    page.close()


@pytest.mark.parametrize("width", [1300, 390])
def test_no_cell_of_the_trials_is_wider_than_its_column(browser, tmp_path, width):
    fields = {"compression.reordered": True, "distillation.teacher": "runs/a-dense/seed=0"}
    sweep = folders.write_sweep(tmp_path / "sweep", [(folders.low_rank(2), 0.02)])
    for record in sweep.glob("*/trial.json"):
        long = record.parent.name + "," + ",".join(f"{k}={v}" for k, v in fields.items())
        record.parent.rename(record.parent.with_name(long.replace("/", "_") + "x" * 60))
    write_report([sweep], tmp_path / "report")
    page = open_page(browser, (tmp_path / "report" / "index.html").as_uri())
    page.set_viewport_size({"width": width, "height": 900})
    wide = page.locator("table.trials td").evaluate_all(
        "cells => cells.filter((c) => c.scrollWidth > c.clientWidth + 1).map((c) => c.textContent)"
    )
    assert wide == []
    page.close()
