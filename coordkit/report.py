"""The report: results as one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from coordkit.ladder import Entry, Summary, finding, interval, p_text, percent, points, usd
from coordkit.plots import causes_figure, effect_figure, fates_figure, ladder_figure, names

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<script>{plotly}</script>
</head>
<body>
<h1>{title}</h1>
{body}
{how}
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
.finding { font-size: 1.15rem; border-left: 4px solid #0072B2; padding-left: .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .45rem; border-bottom: 1px solid #8886;
  vertical-align: top; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
td small { display: block; opacity: .75; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; }
.js-plotly-plot .main-svg text { fill: CanvasText !important; }
.js-plotly-plot .hoverlayer text { fill: #fff !important; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem 1rem; }
pre { overflow-x: auto; font-size: .8rem; }
"""

_HOW = """<h2>How to read this</h2>
<dl>
<dt>failure</dt><dd>The environment's final state is wrong, or the task was not completed. Graded on
the database (and the reply), never on what the agents say. <em>Silent</em>: wrong and shipped.
<em>Loud</em>: crashed, held, rejected or out of budget.</dd>
<dt>failure rate</dt><dd>Share of trials that failed, with its 95 % Wilson interval; trials of one
task count as less than independent ones.</dd>
<dt>change</dt><dd>Against the rung above it in the table, on the same tasks and with the same dice:
paired difference in percentage points, 95 % interval, exact McNemar p-value.</dd>
<dt>knock-out</dt><dd>The failure rate of all six layers without this one, minus that of all six.
Positive: the layer helps. Beneath it, the share of trials that a person then has to look at: a
layer that is missing may show there and not in the failure rate.</dd>
<dt>escalated</dt><dd>A person was asked. Not a success by itself: the reviewer decides, and
errs.</dd>
<dt>cost, seconds</dt><dd>Counted tokens, calls and reviews times the price table in the settings;
a model of cost and latency, not the simulation's own time. Unknown costs: the price table lacks the
model; give --price-in and --price-out.</dd>
<dt>cause</dt><dd>A slip is the cause if the same trial succeeds without slips. Otherwise it is what
the trial without slips lacked in its prompts, a misread message, an action that nobody approved, a
line posted twice, or how the run ended; <em>reviewer</em>: a person was asked.</dd>
<dt>fate of a fault</dt><dd><em>Repaired</em>: a check sent it back, or a retry got through.
<em>Escalated</em>: a person was asked and the trial succeeded. <em>Shipped</em>: the trial failed.
<em>Harmless</em>: none of these.</dd>
</dl>"""


def write_report(results: Sequence[tuple[Summary, pd.DataFrame]], folder: Path) -> Path:
    """Write ``report.html``: finding, table, figures and settings of each case.

    Args:
        results: (summary, trials) per case, as `coordkit.ladder.summarise` and
            `coordkit.experiment.run` return them.
        folder: where to; made if missing.

    Returns:
        The file's path.

    Raises:
        OSError: if it cannot be written.
    """
    cases = " and ".join(summary["case"] for summary, _ in results)
    text = _PAGE.format(
        title=escape(f"coordkit: what each layer does on {cases}"),
        style=_STYLE,
        plotly=get_plotlyjs(),
        body="\n".join(_section(summary, table, i) for i, (summary, table) in enumerate(results)),
        how=_HOW,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _section(summary: Summary, table: pd.DataFrame, number: int) -> str:
    ladder = ladder_figure(summary).update_layout(title_text="")  # the finding, stated above it
    effects = [effect_figure(summary)] if len(summary["rungs"]) > 1 else []
    figures = [*effects, causes_figure(table), fates_figure(table)]
    case = summary["case"]
    trials = summary["rungs"][0]["trials"] // summary["tasks"]
    settings = json.dumps(summary["settings"], indent=2, default=str)
    return "\n".join(
        [
            f"<h2>{escape(case)}</h2>",
            f'<p class="finding">{_text(finding(summary))}</p>',
            f"<p>{summary['tasks']:,} tasks × {trials} trial{'s' * (trials > 1)}, "
            f"{escape(summary['model'])} model, seed {summary['seed']}.</p>",
            _figure(ladder, f"figure-{number}-0"),
            _table(summary),
            *(_figure(figure, f"figure-{number}-{i}") for i, figure in enumerate(figures, 1)),
            f"<details><summary>Settings of {escape(case)}</summary>",
            f"<pre>{escape(settings)}</pre></details>",
        ]
    )


def _table(summary: Summary) -> str:
    rows = [_cells(*named) for named in zip(names(summary), summary["rungs"], strict=True)]
    head = "".join(f"<th>{name}</th>" for name in rows[0])
    body = ["".join(f"<td>{cell}</td>" for cell in row.values()) for row in rows]
    lines = "".join(f"<tr>{line}</tr>" for line in [head, *body])
    return f'<div class="wide"><table>{lines}</table></div>'


def _cells(name: str, entry: Entry) -> dict[str, str]:
    """A line of the table, by its heads."""
    asked = entry["knockout_escalated"]
    knocked = _ends(entry, "knockout_ci")
    knocked += _small(f"{percent(asked / entry['trials'])} escalated" if asked else "")
    return {
        "rung": escape(name),
        "failure rate": percent(entry["failure_rate"]) + _ends(entry, "ci", ""),
        "change, points": points(entry["delta"]) + _ends(entry, "delta_ci"),
        "p": escape(p_text(entry["p_value"])),
        "knock-out, points": points(entry["knockout_delta"]) + knocked,
        "silent": str(entry["silent"]),
        "loud": str(entry["loud"]),
        "escalated": percent(entry["escalated"] / entry["trials"]),
        "calls per task": f"{entry['calls_per_task']:.1f}",
        "tokens per task": f"{entry['tokens_per_task']:,.0f}",
        "cost per task, $": usd(entry["cost_per_task_usd"]),
        "seconds per task": f"{entry['seconds']:.1f}",
    }


def _ends(entry: Entry, name: str, sign: str = "+") -> str:
    return _small(interval(entry[f"{name}_low"], entry[f"{name}_high"], sign))


def _text(sentence: str) -> str:
    return escape(sentence).replace(" %", "&nbsp;%")


def _small(text: str) -> str:
    return f"<small>{text}</small>" if text else ""


def _figure(figure: go.Figure, name: str) -> str:
    """A figure with its title as a caption, which can wrap on a narrow page."""
    caption = str(figure.layout.title.text).replace("<br>", " ")
    figure.update_layout(title_text="", margin_t=50)
    options: dict[str, Any] = {"displayModeBar": False, "responsive": True}
    html = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=options)
    return f"<figure><figcaption>{_text(caption)}</figcaption>{html}</figure>"
