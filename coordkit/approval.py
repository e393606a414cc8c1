"""Approve, edit or reject in a notebook: the human layer's interrupt as a widget."""

from __future__ import annotations

import json
from dataclasses import asdict
from html import escape
from typing import Any

import ipywidgets
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from pydantic import ValidationError

from coordkit.layers.human import Verdict
from coordkit.prompt import Answer
from coordkit.stack import Workplace, trial_id

BUTTONS = (
    ("Approve", "success", "Act on the proposal as it is"),
    ("Edit", "warning", "Act on the text above instead"),
    ("Reject", "danger", "Do nothing; the task ends as rejected"),
)
_CHANGED = "The text was changed: press Edit to act on it, or undo the change to approve."


class ApprovalWidget(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Shows what a graph waits for, and resumes it with what the reviewer decides.

    The graph stays interrupted until a button is pressed; nothing depends on that happening.
    Tab reaches the text and the buttons, Enter or Space presses.

    Args:
        graph: compiled with a checkpointer.
        config: the config, with the thread id, under which the graph was interrupted.
        at: what the graph was built from; gives the last step's schema and the environment.
    """

    def __init__(self, graph: CompiledStateGraph[Any], config: Any, at: Workplace) -> None:
        self.graph, self.config, self.at = graph, config, at
        self.reason, self.status = ipywidgets.HTML(), ipywidgets.HTML()
        layout = {"width": "46em"}
        self.text = ipywidgets.Textarea(description="Proposal", rows=12, layout=layout)
        self.approve, self.edit, self.reject = buttons = [
            ipywidgets.Button(description=name, button_style=style, tooltip=tooltip)
            for name, style, tooltip in BUTTONS
        ]
        for button in buttons:
            button.on_click(self._pressed)
        self._show()
        super().__init__([self.reason, self.text, ipywidgets.HBox(buttons), self.status])

    def _show(self) -> None:
        """Show what the graph waits for, if anything."""
        waiting = self.graph.get_state(self.config).interrupts
        shown: Any = waiting[0].value if waiting else {"reason": "", "proposal": None}
        self.reason.value = "<b>Nothing waits for a person.</b>"
        if waiting:
            self.reason.value = f"<b>A person is needed:</b> {escape(shown['reason'])}"
        self.proposal = json.dumps(shown["proposal"] or {}, indent=2, ensure_ascii=False)
        self.text.value = self.proposal
        self.text.disabled = self.edit.disabled = self.reject.disabled = not waiting
        self.approve.disabled = shown["proposal"] is None
        self._say("Waiting for your decision." if waiting else "")

    def _say(self, text: str) -> None:
        self.status.value = f'<p role="status">{escape(text)}</p>'

    def _pressed(self, button: Any) -> None:
        if button.disabled:
            return
        try:
            if button is self.approve and self.text.value != self.proposal:
                raise ValueError(_CHANGED)
            answer = self._edited() if button is self.edit else None
        except ValueError as problem:
            self._say(f"{problem} Nothing was sent and your text is kept.")
        else:
            self._resume(Verdict(button.description.lower(), answer, "you"))

    def _edited(self) -> Answer:
        """The answer in the text area; ValueError with one line if it is none."""
        try:
            data = json.loads(self.text.value)
            answer = self.at.case.steps[-1].schema.model_validate(data)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            raise ValueError(f"Not JSON, {place}: {error.msg}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole text"
            raise ValueError(f"Not an answer of this step, {place}: {first['msg']}.") from None
        return answer.model_dump(mode="json")

    def _resume(self, verdict: Verdict) -> None:
        """Resume the graph and show what it did."""
        for part in (self.text, self.approve, self.edit, self.reject):
            part.disabled = True
        state: Any = self.graph.invoke(Command(resume=asdict(verdict)), self.config)
        if state.get("__interrupt__"):
            self._show()
            return
        rows = self.at.environment.actions(trial_id(state))
        done = "; ".join(
            " ".join(filter(None, (account, reference, f"{cents / 100:,.2f}" if cents else "")))
            for account, reference, cents, _ in rows
        )
        self._say(
            f"Decision: {verdict.decision}, by {verdict.reviewer}. The run ended as "
            f"{state['status']}. In the environment: {done or 'nothing written'}."
        )
