import html.parser
import json
import re
from urllib.parse import unquote

from experiments.reporting import write_report
from tests.experiments.reporting import folders

HOSTILE = '</script><img src=x onerror="alert(1)">`<b>&\u2028'


class Parser(html.parser.HTMLParser):
    """Collects elements with their attributes, and the content of scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script":
            self.scripts.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_loads_nothing_from_anywhere(finished_report):
    page = Parser((finished_report / "index.html").read_text())
    sources = [a[key] for _, a in page.elements for key in ("src", "srcset", "data") if key in a]
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not page.of("link")
    (policy,) = [a for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'")
    styles = re.findall(r"<style>(.*?)</style>", (finished_report / "index.html").read_text(), re.S)
    assert not re.search(r"url\(|@import", "".join(styles))


def test_links_lead_from_the_report_to_every_trial(finished_report):
    page = Parser((finished_report / "index.html").read_text())
    targets = {a["href"] for a in page.of("a")}
    assert len(targets) == 3 * len(folders.CASES)
    for target in targets:
        assert not target.startswith(("/", "file:", "http"))
        assert (finished_report / unquote(target) / "result.json").exists()


def test_every_table_row_and_headline_is_there_without_scripts(finished_report):
    text = (finished_report / "index.html").read_text()
    assert text.count("<tr data-group=") == len(folders.CASES)
    assert text.count("<tr data-choice=") == 3 * len(folders.CASES)
    assert "The smallest KFC model within 0.1 points of dense" in text
    assert "<noscript><figure>" in text


def test_the_data_of_the_script_has_every_headline_and_front(finished_report):
    page = Parser((finished_report / "index.html").read_text())
    data = json.loads(page.scripts[0])
    (comparison,) = data["comparisons"]
    assert len(comparison["groups"]) == len(folders.CASES)
    for split in ("test", "validation"):
        for size in ("parameters", "flops", "layer_parameters"):
            assert comparison["fronts"][split][size]["all"]
            assert len(comparison["headlines"][split][size]) == 7


def test_a_tolerance_of_ones_own_is_one_of_the_choices(finished_sweep, tmp_path):
    write_report([finished_sweep], tmp_path, tolerance=0.3)
    text = (tmp_path / "index.html").read_text()
    assert '<option value="0.3" selected>0.3 points</option>' in text


def test_nothing_that_a_user_names_becomes_markup(tmp_path):
    sweep = tmp_path / "a<b>&'\"sweep"
    run = folders.write_run(sweep / "x<i>y&'\" é", folders.DENSE, 0, {"test": 0.01}, data=HOSTILE)
    result = json.loads((run / "result.json").read_text())
    result["layers"][2]["structure"] = HOSTILE
    result["layers"][2]["kind"] = "kfc"
    result["layers"][2]["name"] = HOSTILE
    (run / "result.json").write_text(json.dumps(result))
    record = {"state": "done", "command": HOSTILE, "overrides": {HOSTILE: HOSTILE}}
    (run / "trial.json").write_text(json.dumps(record))
    failed = folders.write_run(
        sweep / "failed", folders.DENSE, 1, {"test": 0.1}, is_finished=False, data=HOSTILE
    )
    (failed / "trial.json").write_text(json.dumps({"state": "failed", "error": HOSTILE}))
    write_report([sweep], tmp_path / "out")
    page = Parser((tmp_path / "out" / "index.html").read_text())
    assert not page.of("b")
    assert not page.of("i")
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert len(page.of("script")) == 2
    assert json.loads(page.scripts[0])["comparisons"][0]["groups"][0]["command"] == HOSTILE
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert "onerror" in summary
    assert "<" not in re.sub(r"`[^`\n]*`", "code", summary)
