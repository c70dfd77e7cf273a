import base64
from html.parser import HTMLParser

import pytest

from multipath_gcn.report.cli import main

VOID = {"meta", "link", "img", "br"}


class Document(HTMLParser):
    """Every element is closed, in the right order, and nothing is fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.fetched, self.svg = [], [], [], 0

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        self.svg += tag == "svg"
        if tag == "a":
            self.links.append(attributes["href"])
        self.fetched += [
            v
            for k, v in attributes.items()
            if k in ("src", "href") and tag not in ("a", "use") and not v.startswith("data:")
        ]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def document(runs, write_run):
    for seed in range(2):
        for model in ("plain", "multi<path>"):
            write_run(f"{model}{seed}", seed=seed, model=model)
    (write_run("killed & gone", seed=7) / "result.json").unlink()
    assert main([str(runs)]) == 0
    text = (runs / "report" / "report.html").read_text(encoding="utf-8")
    parsed = Document()
    parsed.feed(text)
    return runs / "report", text, parsed


def test_the_page_is_whole_and_needs_no_other_file(document):
    _, text, parsed = document
    assert not parsed.open and not parsed.fetched and parsed.svg == 3
    assert "multi&lt;path&gt;" in text and "multi<path>" not in text and "killed &amp; gone" in text


def test_links_lead_to_runs_and_configurations(document):
    folder, _, parsed = document
    assert len(parsed.links) == 2 * 4 + 1
    assert all((folder / link).exists() for link in parsed.links)


def test_a_figure_of_each_data_set_and_model_is_shown(runs, write_run):
    for seed in range(3):
        folder = write_run(f"mesh{seed}", seed=seed, model="equivariant")
        if seed:  # the first has none
            (folder / "figure.png").write_bytes(b"picture %d" % seed)
    write_run("other", seed=0, model="plain")
    assert main([str(runs)]) == 0
    text = (runs / "report" / "report.html").read_text(encoding="utf-8")
    shown = [base64.b64encode(b"picture %d" % seed).decode() in text for seed in range(3)]
    assert shown == [False, True, False] and "equivariant" in text and "seed 1</figcaption>" in text
