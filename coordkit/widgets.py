"""Sliders beside a figure, and forms: thin wrappers around pure functions.

What is shown is computed by a function of the sliders' values alone, which tests call without any
widget; the wrapper only moves numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import ipywidgets
import pandas as pd
import plotly.graph_objects as go


@dataclass(frozen=True)
class Dial:
    """One slider.

    Args:
        name: argument of the function that it moves.
        label: what the reader sees, with its unit.
        low, high, step: its range.
        value: where it starts.
        format: how the value is written, such as ``.0%``; a step of 1 makes a whole number.
    """

    name: str
    label: str
    low: float
    high: float
    step: float
    value: float
    format: str = ".2f"

    def slider(self) -> Any:
        """The slider itself; arrow keys move it by one step."""
        whole = isinstance(self.step, int)
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        return kind(
            value=self.value, min=self.low, max=self.high, step=self.step, description=self.label,
            readout_format="d" if whole else self.format,
            style={"description_width": "14em"}, layout={"width": "34em"},
        )  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What a setting of the sliders shows.

    Attributes:
        text: the readout; HTML tags are understood.
        traces: new properties per trace of the figure, such as ``{"x": [...], "y": [...]}``.
        title: the figure's title; empty leaves it.
    """

    text: str
    traces: Sequence[Mapping[str, Any]] = field(default_factory=list)
    title: str = ""


class Explorer(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Sliders that move a figure and a readout at once.

    Args:
        dials: the sliders, in order.
        figure: a figure with as many traces as ``respond`` returns.
        respond: the dials' values by name -> what to show; pure and quick (under 50 ms).

    Where the page is wide enough the sliders stand in two columns.
    """

    def __init__(
        self, dials: Sequence[Dial], figure: go.Figure, respond: Callable[..., Shown]
    ) -> None:
        self.respond = respond
        self.sliders = {dial.name: dial.slider() for dial in dials}
        self.figure: Any = go.Figure(figure)
        self.readout = ipywidgets.HTML()
        self.readout.add_class("coordkit-readout")
        for slider in self.sliders.values():
            slider.observe(self._moved, names="value")
        self._moved()  # before the widget is made: what it starts with is in its saved state
        self.figure = go.FigureWidget(self.figure)
        dials_box = ipywidgets.Box([*self.sliders.values()], layout={"flex_flow": "row wrap"})
        super().__init__([dials_box, self.readout, self.figure])

    def values(self) -> dict[str, Any]:
        """The sliders' values by name."""
        return {name: slider.value for name, slider in self.sliders.items()}

    def _moved(self, change: Any = None) -> None:
        shown = self.respond(**self.values())
        self.readout.value = f'<p role="status">{shown.text}</p>'
        with self.figure.batch_update():
            for trace, properties in zip(self.figure.data, shown.traces, strict=False):
                trace.update(properties)
            if shown.title:
                self.figure.layout.title.text = shown.title


class ColumnPicker(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A dropdown per column of ours to say which of theirs it is, and per setting of a table.

    Args:
        guesses: table -> our column -> theirs, "" where none was found.
        choices: table -> our column -> what may be picked besides none.
        save: called with what was picked, in the shape of ``guesses``, on every change; returns a
            line to show.
    """

    def __init__(
        self,
        guesses: Mapping[str, Mapping[str, str]],
        choices: Mapping[str, Mapping[str, Sequence[str]]],
        save: Callable[[dict[str, dict[str, str]]], str],
    ) -> None:
        self.save = save
        self.dropdowns: dict[tuple[str, str], Any] = {}
        parts: list[Any] = []
        for table, columns in guesses.items():
            parts.append(ipywidgets.HTML(f"<b>{escape(table)}</b>"))
            for ours, theirs in columns.items():
                options = [("(none)", ""), *((name, name) for name in choices[table][ours])]
                dropdown = ipywidgets.Dropdown(
                    options=options, value=theirs, description=ours,
                    style={"description_width": "12em"}, layout={"width": "30em"},
                )  # fmt: skip
                dropdown.observe(self._picked, names="value")
                self.dropdowns[table, ours] = dropdown
                parts.append(dropdown)
        self.readout = ipywidgets.HTML()
        super().__init__([*parts, self.readout])

    def picked(self) -> dict[str, dict[str, str]]:
        """What the dropdowns say: table -> our column -> theirs, "" for none."""
        found: dict[str, dict[str, str]] = {table: {} for table, _ in self.dropdowns}
        for (table, ours), dropdown in self.dropdowns.items():
            found[table][ours] = dropdown.value
        return found

    def _picked(self, change: Any) -> None:
        text = escape(self.save(self.picked())).replace("\n", "<br>")
        self.readout.value = f'<p role="status">{text}</p>'


class Labeller(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Asks for the labels of tasks one by one. Tab moves on, Enter or Space presses a button.

    Args:
        tasks: one row per task, all text: what to show of it, a guess for each label, and the
            column ``doubtful``, which is not shown.
        key: the column with the task's id.
        labels: the columns to ask for.
        save: called with the id and the labels; raises ValueError if they cannot be right.
    """

    def __init__(
        self,
        tasks: pd.DataFrame,
        key: str,
        labels: Sequence[str],
        save: Callable[[str, dict[str, str]], object],
    ) -> None:
        self.tasks, self.key, self.save, self.place = tasks, key, save, 0
        self.shown = ipywidgets.HTML()
        style, layout = {"description_width": "12em"}, {"width": "34em"}
        self.fields = {
            name: ipywidgets.Text(description=name, style=style, layout=layout) for name in labels
        }
        self.save_button = ipywidgets.Button(description="Save", button_style="primary")
        self.skip_button = ipywidgets.Button(description="Skip")
        self.save_button.on_click(self._save)
        self.skip_button.on_click(lambda button: self._show(self.place + 1))
        self.readout = ipywidgets.HTML()
        buttons = ipywidgets.HBox([self.save_button, self.skip_button])
        super().__init__([self.shown, *self.fields.values(), buttons, self.readout])
        self._show(0)

    def _show(self, place: int, note: str = "") -> None:
        self.place, left = place, len(self.tasks) - place
        self.readout.value = f'<p role="status">{escape(note)} {left} to go.</p>'
        for part in (*self.fields.values(), self.save_button, self.skip_button):
            part.disabled = not left
        if not left:
            self.shown.value = ""
            return
        row = self.tasks.iloc[place]
        rows = [
            f"<tr><th>{escape(str(name))}</th><td>{escape(cell)}</td></tr>"
            for name, cell in row.drop([*self.fields, "doubtful"]).items()
        ]
        self.shown.value = f"<table>{''.join(rows)}</table>"
        for name, box in self.fields.items():
            box.value = row[name]
        next(iter(self.fields.values())).focus()

    def _save(self, button: Any) -> None:
        task_id = self.tasks.iloc[self.place][self.key]
        try:
            self.save(task_id, {name: box.value.strip() for name, box in self.fields.items()})
        except ValueError as error:
            self.readout.value = f'<p role="status">Not saved: {escape(str(error))}</p>'
        else:
            self._show(self.place + 1, f"{task_id} is saved.")
