import base64
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest
from nbclient.exceptions import CellExecutionError
from PIL import Image

from coordkit.book import (
    COLOURS,
    NOTEBOOKS,
    PLOTLY,
    STATE,
    STILL,
    WIDGET,
    add_pictures,
    main,
    normalise,
    run,
    site,
)
from coordkit.explorers.planning import planning_explorer
from coordkit.explorers.state import state_explorer

SVG = "image/svg+xml"


def dot(image: Any) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


IMAGE = Image.new("RGBA", (2, 2), (200, 60, 0, 128))
DOT, SMALL_DOT = dot(IMAGE), base64.b64encode(dot(IMAGE.quantize(COLOURS))).decode()
FIGURE = json.loads(go.Figure(go.Scatter(x=[1, 2], y=[1, 3]), {"title": "</script>"}).to_json())


def notebook(*sources: str) -> Any:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 00 · Trial"), *cells])


def with_output(data: dict[str, Any]) -> Any:
    made = notebook("figure")
    made.cells[1].outputs = [nbformat.v4.new_output("display_data", data)]
    return made


def test_normalising_drops_what_a_live_kernel_owns_and_keeps_the_rest() -> None:
    made = with_output({WIDGET: {"model_id": "x"}, "text/plain": "Widget"})
    made.cells[1].outputs.append(
        nbformat.v4.new_output("execute_result", {"text/plain": "<Thing at 0x7f0011223344>"})
    )
    made.metadata.update(widgets={"state": {}}, language_info={"version": "3.11.7"})
    made.cells[1].metadata["execution"] = {"iopub.status.busy": "now"}
    normalise(made)
    (kept,) = made.cells[1].outputs
    assert kept["data"] == {"text/plain": "<Thing at 0x0>"}
    assert set(made.metadata) & {"widgets", "language_info"} == set()
    assert "execution" not in made.cells[1].metadata


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "00_trial.ipynb"
    nbformat.write(notebook("object()", "1 + 1"), path)
    run(path)
    first = path.read_bytes()
    run(path)
    assert path.read_bytes() == first
    assert nbformat.read(path, 4).cells[2].outputs[0]["data"]["text/plain"] == "2"


def test_a_figure_with_sliders_leaves_a_picture_of_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plotly.io, "to_image", lambda figure, **_: drawn.append(figure) or DOT)
    path = tmp_path / "00_trial.ipynb"
    plain = "import ipywidgets; ipywidgets.VBox([ipywidgets.IntSlider()])"
    slid = "from coordkit.explorers.{0} import {0}_explorer; {0}_explorer()"
    cells = [slid.format("state"), slid.format("planning"), plain]
    nbformat.write(notebook(*cells), path)
    run(path)
    *slid_cells, bare = (cell.outputs for cell in nbformat.read(path, 4).cells[1:])
    for outputs in slid_cells:
        assert [o["data"] for o in outputs] == [{"image/png": SMALL_DOT, "text/plain": STILL}]
    assert bare == [] and len(drawn) == 2, "a widget without a figure leaves nothing"
    for told, explorer in zip(drawn, (state_explorer(), planning_explorer()), strict=True):
        assert told["layout"]["title"]["text"] == explorer.figure.layout.title.text
        assert values(told["data"][0]["y"]) == list(explorer.figure.data[0].y)


def values(axis: Any) -> list[float]:
    """The numbers of an axis, from a list or from NumPy's bytes."""
    if isinstance(axis, dict):
        return list(np.frombuffer(base64.b64decode(axis["bdata"]), axis["dtype"]))
    return list(axis)


def test_every_figure_has_a_picture_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plotly.io, "to_image", lambda figure, **_: DOT)
    made = notebook("figure", "words", "figure")
    shown = ({PLOTLY: FIGURE}, {"text/plain": "words"}, {PLOTLY: FIGURE})
    for cell, data in zip(made.cells[1:], shown, strict=True):
        cell.outputs = [nbformat.v4.new_output("display_data", data)]
    add_pictures(made)
    pictures = [cell.outputs[0]["data"].get("image/png") for cell in made.cells[1:]]
    assert pictures == [SMALL_DOT, None, SMALL_DOT]


def test_without_chromium_nothing_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_browser(*_: Any, **__: Any) -> bytes:
        raise RuntimeError("no Chromium")

    monkeypatch.setattr(plotly.io, "to_image", no_browser)
    made = with_output({WIDGET: {"model_id": "m"}})
    state = {"_widget_data": FIGURE["data"], "_widget_layout": FIGURE["layout"]}
    made.metadata["widgets"] = {STATE: {"state": {"m": {"state": state}}}}
    add_pictures(made)
    assert normalise(made).cells[1].outputs == []
    assert "no static picture: no Chromium" in capsys.readouterr().out


def test_a_failing_notebook_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "00_trial.ipynb"
    nbformat.write(notebook("1 / 0"), path)
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run(path)
    assert path.read_bytes() == before


def test_the_book_keeps_its_figures_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "00_trial.ipynb"
    nbformat.write(with_output({PLOTLY: FIGURE, "text/plain": "Figure"}), path)
    index = site(tmp_path / "book", [path])
    assert '<a href="00_trial.html">00 · Trial</a>' in index.read_text("utf-8")
    page = (tmp_path / "book" / "00_trial.html").read_text("utf-8")
    assert "Plotly.newPlot" in page and "\\u003c\\u002fscript\\u003e" in page
    assert (tmp_path / "book" / "plotly.min.js").stat().st_size > 1_000_000
    for loads in ('src="http', "from 'http", 'import("http', 'href="http', "url(http"):
        assert loads not in page


def test_the_book_shows_every_graph_of_the_notebooks_as_a_picture(tmp_path: Path) -> None:
    found = 0
    for path in NOTEBOOKS.glob("0[1-6]_*.ipynb"):
        outputs = [o for c in nbformat.read(path, 4).cells for o in c.get("outputs", [])]
        graphs = [o["data"][SVG] for o in outputs if SVG in o.get("data", {})]
        site(tmp_path, [path])
        page = (tmp_path / f"{path.stem}.html").read_text("utf-8")
        shown = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
        assert [base64.b64decode(text).decode().strip() for text in shown] == graphs
        assert not source_of_diagram(page), path.name
        found += len(graphs)
    assert found >= 7


def test_a_diagram_left_as_source_would_be_noticed(tmp_path: Path) -> None:
    made = notebook("1")
    made.cells.append(nbformat.v4.new_markdown_cell("```mermaid\nflowchart LR\n  a --> b\n```"))
    nbformat.write(made, tmp_path / "00_trial.ipynb")
    site(tmp_path, [tmp_path / "00_trial.ipynb"])
    assert source_of_diagram((tmp_path / "00_trial.html").read_text("utf-8"))


def source_of_diagram(page: str) -> bool:
    return 'class="mermaid"' in page or "flowchart LR" in page


def test_the_command_says_how_it_is_used() -> None:
    with pytest.raises(SystemExit, match="book run"):
        main(["nonsense"])
