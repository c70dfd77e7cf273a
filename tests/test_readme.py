"""What the README shows runs as it stands there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_python_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README) + re.findall(r'src="(?!https?://)([^"]+)"', README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_options_named_exist():
    for group, name in re.findall(r"\b(data|model|experiment|task|logger|launcher|search)=([\w/]+)", README):
        assert (ROOT / "conf" / group / f"{name}.yaml").exists(), f"{group}={name}"
