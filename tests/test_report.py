"""coordkit.report: one file, complete, without the network."""

import re
from copy import deepcopy
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from coordkit.experiment import Settings, ladder_stacks, run
from coordkit.ladder import Summary, finding, percent, summarise
from coordkit.report import write_report


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Summary, pd.DataFrame]:
    """A ladder of 12 billing tasks."""
    settings = Settings("billing", tasks=12)
    table, _ = run(settings, ladder_stacks(), tmp_path_factory.mktemp("runs"), processes=1)
    return summarise(table, settings, range(7)), table


@pytest.fixture
def page(measured, tmp_path: Path) -> str:
    summary, table = measured
    return write_report([(summary, table)], tmp_path).read_text(encoding="utf-8")


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_it_holds_finding_table_figures_and_settings(page: str, measured) -> None:
    summary, _ = measured
    text = unescape(page).replace("\xa0", " ")
    assert finding(summary) in text
    assert all(percent(entry["failure_rate"]) in text for entry in summary["rungs"])
    assert re.findall(r'<div id="(figure-.*?)"', page) == [f"figure-0-{i}" for i in range(4)]
    assert '"reliability": 0.96' in text
    assert "How to read this" in text


def test_it_needs_no_network(page: str) -> None:
    assert len(re.findall(r"<script[^>]*\bsrc=", page)) == 0
    assert not re.search(r"<(link|img|iframe)\b|@import|url\(", without_scripts(page))


def test_plotly_is_there_once_for_all_cases(measured, tmp_path: Path) -> None:
    summary, table = measured
    other = {**deepcopy(summary), "case": "support"}
    one = write_report([(summary, table)], tmp_path / "one")
    two = write_report([(summary, table), (other, table)], tmp_path / "two")
    text = two.read_text(encoding="utf-8")
    assert "what each layer does on billing and support" in text
    assert text.count('id="figure-1-') == 4
    assert two.stat().st_size - one.stat().st_size < 500_000  # plotly.js alone is 4 MB


def test_text_is_escaped(measured, tmp_path: Path) -> None:
    summary, table = measured
    odd = {**deepcopy(summary), "case": "<b>&"}
    text = write_report([(odd, table)], tmp_path).read_text(encoding="utf-8")
    assert "<b>" not in without_scripts(text)


def test_the_same_results_give_the_same_bytes(measured, tmp_path: Path) -> None:
    summary, table = measured
    paths = [write_report([(summary, table)], tmp_path / name) for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_one_stack_has_no_effects(measured, tmp_path: Path) -> None:
    summary, table = measured
    single = {**summary, "rungs": summary["rungs"][:1]}
    text = write_report([(single, table)], tmp_path).read_text(encoding="utf-8")
    assert text.count('id="figure-0-') == 3
