"""Make the page that `dvc plots show` fills: charts that draw with no network.

    python -m fairtune.page

DVC's own page loads the chart libraries from a content network. This one carries them, at 1 MB,
so it is generated on each machine and not committed; DVC is told of it in `.dvc/config.local`,
because it fails where the configuration names a page that is not there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from fairtune.core.errors import UserError, run

PAGE = Path(".dvc/plots.html")
# What DVC's own scripts call by these names.
SNIPPET = "Object.assign(window, { vega, vegaLite, vegaEmbed });"
STYLE = """
  :root { color-scheme: light; }
  body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif;
    color: #1b1b1b; background: #f5f6f8; margin: 0; }
  header, main { max-width: 84rem; margin: 0 auto; padding: 1.5rem; }
  header { padding-bottom: 0; }
  h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .4rem; }
  p { margin: 0; max-width: 46rem; color: #444; }
  main { display: grid; gap: 1.25rem; align-items: start;
    grid-template-columns: repeat(auto-fit, minmax(min(40rem, 100%), 1fr)); }
  main > div { background: #fff; border: 1px solid #dfe2e6; border-radius: 6px;
    padding: 1rem 1.25rem; overflow-x: auto; }
  @media print { body { background: #fff; } main > div { break-inside: avoid; } }
"""
TEXT = (
    "Every method had the same rows, the same seeds and the same budget. "
    "Point at a mark for its exact values. Where two revisions are compared, "
    "the newer one is drawn solid, the older one pale."
)


def page(bundle: str) -> str:
    """Return the page around DVC's `{plot_divs}`, with a script that defines `vegaEmbed`."""
    # DVC fills its placeholders anywhere in the page, and a browser ends a script at the first
    # closing tag that it sees: neither may stand in the libraries.
    clashes = [mark for mark in ("{plot_divs}", "{scripts}", "{refresh_tag}") if mark in bundle]
    if clashes:
        raise ValueError(f"the chart libraries hold DVC's placeholder {clashes[0]}")
    script = bundle.replace("</script", "<\\/script")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{{refresh_tag}}
<title>fairtune: fine-tuning methods compared</title>
<style>{STYLE}</style>
<script>{script}</script>
</head>
<body>
<header>
<h1>Fine-tuning methods compared</h1>
<p>{TEXT}</p>
</header>
<main>
{{plot_divs}}
</main>
</body>
</html>
"""


def main() -> None:
    """Write the page and point this clone's DVC at it."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    import vl_convert  # 1 s, and only needed here

    half = PAGE.with_name(PAGE.name + ".part")
    half.write_text(page(vl_convert.javascript_bundle(SNIPPET)), encoding="utf-8")
    os.replace(half, PAGE)
    configure = [sys.executable, "-m", "dvc", "config", "--local", "plots.html_template", PAGE.name]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{PAGE}: DVC refused it as its page: {done.stderr.strip()}")
    print(f"wrote {PAGE}: `dvc plots show` draws with no network")


if __name__ == "__main__":
    run(main)
