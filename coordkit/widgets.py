"""Sliders beside a figure and a readout in words: a pure function in a thin wrapper.

What is shown is computed by a function of the sliders' values alone, which tests call without any
widget; the wrapper only moves numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ipywidgets
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
            readout_format="d" if whole else self.format, continuous_update=True,
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
        self.figure = go.FigureWidget(figure)
        self.readout = ipywidgets.HTML()
        self.readout.add_class("coordkit-readout")
        for slider in self.sliders.values():
            slider.observe(self._moved, names="value")
        self._moved()
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
