"""Runs the notebooks for the record, and makes the book: static pages that need no network.

``python -m coordkit.book run [NOTEBOOK ...]`` executes notebooks in a clean kernel and writes them
back normalised, so that two runs give the same bytes. ``python -m coordkit.book site DIR`` makes
pages of the executed notebooks; figures stay interactive.
"""

from __future__ import annotations

import base64
import html
import re
import sys
from collections.abc import Iterator, Sequence
from functools import reduce
from io import BytesIO
from operator import getitem
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
PLOTLY, WIDGET = "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
STILL = "The figure as the sliders start; run the cell to move them."
CELL_SECONDS = 600  # a stalled kernel is given up, not waited for; a busy machine is slow
PICTURE_WIDTH = 760  # pixels; about the width of a notebook on GitHub
COLOURS = 64  # of a picture: a fifth of the size, and no difference to be seen
_URLS = "require_js_url jquery_url mathjax_url mermaid_js_url mermaid_layout_elk_js_url".split()


def normalise(notebook: Any) -> Any:
    """Drop what differs from run to run or only a live kernel can show; returns the notebook."""
    notebook.metadata.pop("widgets", None)  # widget state takes megabytes
    notebook.metadata.pop("language_info", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
    for data in _shown(notebook):
        if "text/plain" in data:  # without the addresses of objects
            data["text/plain"] = re.sub(r"0x[0-9a-f]{8,}", "0x0", data["text/plain"])
    return notebook


def _shown(notebook: Any) -> Iterator[Any]:
    """What the cells show: of each output the data, by their kinds."""
    for cell in notebook.cells:
        yield from (output["data"] for output in cell.get("outputs", []) if "data" in output)


def run(path: Path) -> None:
    """Execute a notebook from a clean kernel in its folder and write it back normalised.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails; the file is left as it was.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.execute(notebook, str(path.parent), timeout=CELL_SECONDS, kernel_name="python3")
    add_pictures(notebook)
    nbformat.write(normalise(notebook), path)


def add_pictures(notebook: Any) -> None:
    """Give each figure a static picture, for pages that draw no Plotly (GitHub's).

    It stands beside the figure; of one with sliders it shows the start, in the figure's place.
    Needs Chromium, through kaleido; without it the notebook stays without pictures, and says so.
    """
    models = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for data in _shown(notebook):
        live = data.get(WIDGET)
        figure = _figure_within(live["model_id"], models) if live else data.get(PLOTLY)
        if figure and (picture := _png(figure)):
            if live:
                data.clear()
                data["text/plain"] = STILL
            data["image/png"] = picture


def _figure_within(name: str, models: Any) -> Any:
    """The first figure in a widget's state or that of the widgets in it; None if it has none."""
    model = models.get(name.removeprefix("IPY_MODEL_"), {})
    state = model.get("state", {})
    if "_widget_data" in state:
        for buffer in model.get("buffers", ()):  # NumPy arrays, as Plotly's own JSON has them
            array = reduce(getitem, buffer["path"][:-1], state)
            array |= {"bdata": buffer["data"], "shape": ",".join(map(str, array["shape"]))}
        return {"data": state["_widget_data"], "layout": state["_widget_layout"]}
    within = (_figure_within(child, models) for child in state.get("children", ()))
    return next(filter(None, within), None)


def _png(figure: Any) -> str:
    """A figure as base64, or the reason why not, printed, and nothing."""
    small = BytesIO()
    try:
        from PIL import Image
        from plotly.io import to_image

        picture = to_image(figure, format="png", width=PICTURE_WIDTH, validate=False)
        Image.open(BytesIO(picture)).quantize(COLOURS).save(small, "PNG", optimize=True)
    except (ImportError, RuntimeError, ValueError) as error:
        print(f"no static picture: {str(error).strip().splitlines()[0]}")
        return ""
    return base64.b64encode(small.getvalue()).decode()


def site(folder: Path, notebooks: Sequence[Path]) -> Path:
    """Make the pages and their index.

    Args:
        folder: where to; pages and one plotly.min.js.
        notebooks: executed notebooks, in reading order.

    Returns:
        The index page.
    """
    from plotly.offline import get_plotlyjs

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    titles = {path: _page(path, folder) for path in notebooks}
    entries = "\n".join(
        f'<li><a href="{path.stem}.html">{html.escape(title)}</a></li>'
        for path, title in titles.items()
    )
    index = folder / "index.html"
    index.write_text(_INDEX.format(entries=entries), encoding="utf-8")
    return index


def _page(path: Path, folder: Path) -> str:
    """Write one notebook's page; returns its title."""
    import nbformat
    from nbconvert import HTMLExporter
    from plotly.io import to_html

    notebook = nbformat.read(path, as_version=4)
    title = str(notebook.cells[0].source.splitlines()[0]).lstrip("# ")
    for number, data in enumerate(_shown(notebook)):
        if figure := data.get(PLOTLY):
            data.clear()
            data["text/html"] = to_html(
                figure, include_plotlyjs=False, full_html=False, div_id=f"figure-{number}",
                validate=False,
            )  # fmt: skip
    nothing = dict.fromkeys(_URLS, "")  # nothing from the network
    exporter = HTMLExporter(html_manager_semver_range="", **nothing)
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    head = '<script src="plotly.min.js"></script>\n<p><a href="index.html">All chapters</a></p>'
    body = re.sub(r"(<body[^>]*>)", lambda m: m.group(1) + head, body, count=1)
    (folder / f"{path.stem}.html").write_text(body, encoding="utf-8")
    return title


_INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>coordkit</title>
<style>body {{ font: 18px/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; }}</style>
</head><body><h1>coordkit</h1>
<p>Six coordination layers, built one at a time and measured. To move the sliders, run
<code>make lab</code>.</p>
<ol start="0">
{entries}
</ol></body></html>
"""


def main(arguments: Sequence[str]) -> None:
    """The command line of this module."""
    import logging

    logging.getLogger("traitlets").setLevel(logging.ERROR)
    notebooks = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    match list(arguments):
        case ["run", *names]:
            for path in [Path(name) for name in names] or notebooks:
                print(f"running {path.name} …", flush=True)
                run(path)
        case ["site", folder]:
            print(f"The book is ready: {site(Path(folder), notebooks)}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
