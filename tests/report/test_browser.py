"""The HTML report in a real browser, where one is installed."""

import json
import re
import shutil
import subprocess

import pytest

from multipath_gcn.report.cli import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """
<script>
addEventListener("load", () => {
  const size = element => { const r = element.getBoundingClientRect(); return [r.width, r.height]; };
  const pictures = [...document.querySelectorAll("figure svg, figure img")];
  const probe = document.createElement("pre");
  probe.id = "probe";
  probe.textContent = JSON.stringify({
    figures: document.querySelectorAll("figure").length,
    pictures: pictures.map(size),
    drawn: pictures.filter(p => p.tagName.toLowerCase() === "svg").map(p => p.querySelectorAll("path").length),
    tables: [...document.querySelectorAll("table")].map(size),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  });
  document.body.append(probe);
});
</script>
"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome")


@pytest.mark.parametrize("width", [1400, 420])
def test_it_opens_and_every_plot_has_size(runs, write_run, tmp_path, width):
    for seed in range(3):
        for model, parameters in (("plain", 1000), ("multipath", 3000)):
            write_run(f"{model}{seed}", model=model, seed=seed, valid=0.8 + seed / 100, parameters=parameters)
    assert main([str(runs)]) == 0
    page = runs / "report/report.html"
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    shown = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={tmp_path}",
         f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom", probed.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', shown.stdout, re.DOTALL)[1])
    assert "CONSOLE" not in shown.stderr
    assert found["figures"] == len(found["pictures"]) == 3
    assert all(wide > 300 and high > 100 for wide, high in found["pictures"])
    assert all(paths > 5 for paths in found["drawn"])
    assert len(found["tables"]) >= 2 and all(wide > 0 and high > 0 for wide, high in found["tables"])
    assert found["wide"] <= 0  # wide tables scroll by themselves, the page does not
