"""The widgets in a real browser: JupyterLab in headless Chromium, driven by the keyboard.

One module, so that `--dist loadscope` keeps it, and its one JupyterLab, on one worker. Nothing can
reach the network. Without a browser the module is skipped, unless COORDKIT_BROWSER=required.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from coordkit.reliability import Pipeline, end_to_end

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
REQUIRED = os.environ.get("COORDKIT_BROWSER") == "required"
MISSING = "no Chromium for the browser tests: apt install chromium, or brew install --cask chromium"
if BROWSER is None and not REQUIRED:
    pytest.skip(MISSING, allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
WITH_SLIDERS = [path for path in NOTEBOOKS if re.search(r"xplorer\(", path.read_text("utf-8"))]
HUMAN = ROOT / "notebooks" / "06_human.ipynb"
YOUR_DATA = ROOT / "notebooks" / "08_your_data.ipynb"
START_SECONDS, RUN_SECONDS, SHOW_SECONDS = 60, 240, 60
CHROMIUM = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]  # fmt: skip


# --- JupyterLab and the browser ------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lab_home(folder: Path) -> Path:
    """A folder with the notebooks, what they read, and settings that are nobody's own."""
    for name in ("notebooks", "data"):
        shutil.copytree(ROOT / name, folder / name)
    if (ROOT / "runs").exists():  # finished measurements, so that they are not made twice
        unfinished = shutil.ignore_patterns("*.partial", "part-*")
        shutil.copytree(ROOT / "runs", folder / "runs", ignore=unfinished)
    place = Path("labconfig") / "default_setting_overrides.json"
    settings = json.loads((ROOT / ".jupyter" / place).read_text("utf-8"))
    settings["@jupyterlab/notebook-extension:tracker"] = {"windowingMode": "none"}
    (folder / "config" / place).parent.mkdir(parents=True)
    (folder / "config" / place).write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", autouse=True)
def a_browser() -> None:
    if BROWSER is None:
        pytest.fail(MISSING, pytrace=False)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A running JupyterLab: its address and token."""
    home = lab_home(tmp_path_factory.mktemp("lab"))
    port, token = free_port(), secrets.token_hex(16)
    own = {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--expose-app-in-browser",
        "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={home}",
        f"--IdentityProvider.token={token}",
    ]  # fmt: skip
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=home, env={**os.environ, **own}, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_up(server, f"{address}/api/status?token={token}", home / "lab.log")
            yield address, token
        finally:
            server.terminate()
            server.wait(30)


def wait_until_up(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    yield context.new_page()
    context.close()


CONNECTED = (
    "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
    "?.connectionStatus === 'connected'"
)
RUN_ALL = """seconds => Promise.race([
    window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => 'done'),
    new Promise(resolve => setTimeout(() => resolve('too slow'), 1000 * seconds)),
])"""
RUN_CELL = """async index => {
    window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
    await window.jupyterapp.commands.execute('notebook:run-cell');
}"""
IN_KERNEL = """async code => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({code, store_history: false});
    let text = '';
    future.onIOPub = message => { text += message.content.text ?? message.content.evalue ?? ''; };
    await future.done;
    return text;
}"""


@pytest.fixture
def open_notebook(page: Any, lab: tuple[str, str]) -> Iterator[Any]:
    """Opens a notebook and gives the page; the kernel ends with the test."""

    def connected(path: Path) -> Any:
        address, token = lab
        page.goto(f"{address}/lab/tree/notebooks/{path.name}?reset&token={token}")
        page.wait_for_function(CONNECTED, timeout=1000 * START_SECONDS)
        return page

    yield connected
    page.evaluate("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.shutdown()")


@pytest.fixture
def open_and_run(open_notebook: Any) -> Any:
    """Opens a notebook, runs all its cells and gives the page."""

    def run(path: Path) -> Any:
        page = open_notebook(path)
        assert page.evaluate(RUN_ALL, RUN_SECONDS) == "done", f"{path.name} does not finish"
        errors = page.locator("[data-mime-type='application/vnd.jupyter.error']")
        assert expected_errors(path) or errors.count() == 0, errors.first.inner_text()
        return page

    return run


def expected_errors(path: Path) -> bool:
    """Whether the committed notebook shows errors on purpose."""
    return '"output_type": "error"' in path.read_text("utf-8")


# --- what a reader does --------------------------------------------------------------------------

EXPLORER = """
import json
from ipywidgets.widgets import widget
from coordkit.widgets import Explorer
first = next(w for w in widget._instances.values() if isinstance(w, Explorer))
values = first.values()
print(json.dumps({"values": values, "says": first.respond(**values).text}))
"""
PLAIN = """html => {
    const part = document.createElement('div');
    part.innerHTML = html.replaceAll('<br>', ' ');
    return part.textContent;
}"""
READOUT_CHANGES = """([selector, key]) => {
    const readout = document.querySelector(selector);
    window.readoutChanged = new Promise(resolve => {
        let pressed = 0;
        addEventListener('keydown', () => { pressed = performance.now(); },
                         {capture: true, once: true});
        const watch = new MutationObserver(() => {
            if (pressed) { watch.disconnect(); resolve(performance.now() - pressed); }
        });
        watch.observe(readout, {childList: true, subtree: true, characterData: true});
    });
}"""


def plain(page: Any, text: str) -> str:
    """The text of a piece of HTML, with single spaces."""
    return " ".join(str(page.evaluate(PLAIN, text)).split())


def explorer(page: Any) -> dict[str, Any]:
    """What the kernel says of the notebook's first Explorer: its values, and what it must show."""
    return dict(json.loads(page.evaluate(IN_KERNEL, EXPLORER)))


def first_slider(page: Any) -> Any:
    """The first slider of the first Explorer, with the keyboard's focus."""
    output = page.locator(".jp-OutputArea-output", has=page.locator(".coordkit-readout")).first
    slider = output.locator("[role=slider]").first
    slider.wait_for(timeout=1000 * SHOW_SECONDS)
    output.locator(".js-plotly-plot, .plotly-graph-div").first.wait_for(timeout=1000 * SHOW_SECONDS)
    slider.focus()
    return slider


def shows(page: Any, text: str, selector: str = ".coordkit-readout") -> None:
    """Wait until the readout shows this text (its HTML tags do not count)."""
    from playwright.sync_api import expect

    words = re.escape(plain(page, text)).replace(r"\ ", r"\s*")
    readout = page.locator(selector).first
    expect(readout).to_have_text(re.compile(words), timeout=1000 * SHOW_SECONDS)


def move_first_slider(page: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Press an arrow key on the first slider; the values before and after."""
    first_slider(page)
    before = explorer(page)
    shows(page, before["says"])
    for key in ("ArrowRight", "ArrowLeft"):  # the second, where the slider stands at its end
        page.keyboard.press(key)
        page.wait_for_timeout(500)
        after = explorer(page)
        if after["values"] != before["values"]:
            break
    return before["values"], after


def milliseconds(page: Any, key: str) -> float:
    """From a key press to a changed readout, in the page's own time."""
    page.evaluate(READOUT_CHANGES, [".coordkit-readout", key])
    page.keyboard.press(key)
    return float(page.evaluate("() => window.readoutChanged"))


# --- the tests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WITH_SLIDERS, ids=lambda p: p.stem)
def test_an_arrow_key_moves_the_first_slider_and_the_readout(path: Path, open_and_run: Any) -> None:
    page = open_and_run(path)
    before, after = move_first_slider(page)
    changed = [name for name in before if before[name] != after["values"][name]]
    assert changed == [next(iter(before))]
    shows(page, after["says"])


def test_the_gap_agrees_with_the_formula_answers_at_once_and_measures(
    open_and_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    page = open_and_run(ROOT / "notebooks" / "00_the_gap.ipynb")
    first_slider(page)
    output = page.locator(".jp-OutputArea-output", has=page.locator(".coordkit-readout")).first
    shows(page, f"End to end {end_to_end(Pipeline(steps=6)).success:.1%}")
    page.keyboard.press("ArrowRight")
    shows(page, f"End to end {end_to_end(Pipeline(steps=7)).success:.1%}")
    output.locator("[role=slider]").nth(1).focus()
    page.keyboard.press("ArrowLeft")
    p = 0.965
    formula = end_to_end(Pipeline(steps=7, reliability=p)).success
    shows(page, f"End to end {formula:.1%}")

    waits = [milliseconds(page, key) for key in ("ArrowRight", "ArrowLeft") * 4]
    with capsys.disabled():
        print(f"\nkey press -> changed readout: median {median(waits):.0f} ms, {max(waits):.0f} ms")
    assert median(waits) < 1000, "far beyond what a busy machine explains"

    intervals = output.locator(".errorbars .yerror")
    assert intervals.count() == 0
    output.get_by_role("button", name=re.compile("Measure")).click()
    intervals.first.wait_for(state="attached", timeout=1000 * RUN_SECONDS)
    shows(page, "Measured", ".coordkit-measured")
    told = page.locator(".coordkit-measured").first.inner_text()
    numbers = re.search(r"Measured ([\d.]+)% \(([\d.]+) to ([\d.]+)%; (\d+) graph runs\)", told)
    assert numbers, told
    share, low, high, runs = map(float, numbers.groups())
    assert low < share < high and runs >= 100
    error = (formula * (1 - formula) / runs) ** 0.5
    assert abs(share / 100 - formula) < 4 * error


@pytest.mark.skipif(not HUMAN.exists(), reason="notebook 06 is not there yet")
def test_the_approval_widget_approves_rejects_and_edits(open_and_run: Any) -> None:
    from playwright.sync_api import expect

    page = open_and_run(HUMAN)
    cells = json.loads(HUMAN.read_text("utf-8"))["cells"]
    index = next(i for i, c in enumerate(cells) if "\nApprovalWidget(" in "".join(c["source"]))

    def waiting() -> Any:
        """The widget, waiting for a decision."""
        page.evaluate(RUN_CELL, index)
        approve = page.get_by_role("button", name="Approve", exact=True)
        output = page.locator(".jp-OutputArea-output", has=approve).first
        expect(output).to_contain_text("Waiting for your decision", timeout=1000 * SHOW_SECONDS)
        return output

    def press(output: Any, name: str, says: str) -> None:
        output.get_by_role("button", name=name, exact=True).focus()
        page.keyboard.press("Enter")
        expect(output).to_contain_text(says, timeout=1000 * SHOW_SECONDS)

    output = waiting()
    press(output, "Approve", "Decision: approve")
    for name in ("Approve", "Edit", "Reject"):
        expect(output.get_by_role("button", name=name, exact=True)).to_be_disabled()

    output = waiting()
    press(output, "Reject", "nothing written")
    expect(output).to_contain_text("Decision: reject")

    output = waiting()
    text = output.locator("textarea")
    proposal = text.input_value()
    text.fill(proposal[:-3])
    press(output, "Edit", "Not JSON")
    edited = re.sub(r'"amount": [\d.]+', '"amount": 12.34', proposal)
    assert edited != proposal
    text.fill(edited)
    press(output, "Edit", "Decision: edit")
    expect(output).to_contain_text("12.34")


def test_the_labelling_widget_refuses_what_cannot_be_right_and_keeps_what_can(
    open_notebook: Any, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    page = open_notebook(YOUR_DATA)
    # a folder of its own: another test may be running the same notebook
    page.evaluate(IN_KERNEL, f"import os; os.environ['COORDKIT_RUNS'] = {str(tmp_path)!r}")
    sources = ["".join(c["source"]) for c in json.loads(YOUR_DATA.read_text("utf-8"))["cells"]]
    for index in range(sources.index("labeller(tables, folder)") + 1):
        page.evaluate(RUN_CELL, index)
    output = page.locator(".jp-OutputArea-output", has=page.get_by_role("button", name="Save"))
    expect(output).to_contain_text("to go", timeout=1000 * SHOW_SECONDS)
    task = re.search(r"BNK-\d+", output.inner_text())
    assert task

    def answer(kind: str, invoice: str) -> None:
        for label, text in (("kind", kind), ("settles_invoice", invoice)):
            output.get_by_label(label, exact=True).fill(text)
        output.get_by_role("button", name="Save").focus()
        page.keyboard.press("Enter")

    labels = tmp_path / "08_your_data" / "labels.csv"
    answer("exact", "INV-00000")
    expect(output).to_contain_text("Not saved:", timeout=1000 * SHOW_SECONDS)
    assert not labels.exists()
    answer("exact", "INV-20070")
    expect(output).to_contain_text(f"{task[0]} is saved.", timeout=1000 * SHOW_SECONDS)
    assert f"{task[0]},exact,INV-20070" in labels.read_text("utf-8")
