"""What README and docs show runs as it stands there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(params=PAGES, ids=lambda path: path.name)
def page(request):
    return request.param


def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks or "```python" not in page.read_text()
    for block in blocks:
        exec(compile(block, page.name, "exec"), {})


def test_links_lead_somewhere(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", text) + re.findall(r'src="(?!https?://)([^"]+)"', text)
    assert links
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_nothing_waits_to_be_written(page):
    assert not re.findall(r"^[A-Z_]{4,}$", page.read_text(), re.MULTILINE)


def test_options_named_exist(page):
    groups = (
        "data|model/convolution|model|experiment|task|logger|measure|prune|optimizer|launcher|recipe|search|scheduler"
    )
    text = page.read_text()
    own = set(re.findall(r"my_conf/(\w+)/(\w+)\.yaml", text))  # which a page tells to write
    for group, name in set(re.findall(rf"(?<![\w/.])({groups})=([a-z][\w/]*)", text)) - own:
        assert (ROOT / "conf" / group / f"{name}.yaml").exists(), f"{group}={name}"
