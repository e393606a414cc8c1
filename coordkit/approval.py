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


class ApprovalWidget(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Shows what a graph waits for, and resumes it with what the reviewer decides.

    The graph stays interrupted until a button is pressed; nothing depends on that happening.
    Tab reaches the text and the buttons, Enter or Space presses.

    Args:
        graph: compiled with a checkpointer.
        config: the config, with the thread id, under which the graph was interrupted.
        at: what the graph was built from; gives the last step's schema and the environment.
        reviewer: name that is recorded with the decision.
    """

    def __init__(
        self, graph: CompiledStateGraph[Any], config: Any, at: Workplace, reviewer: str = "you"
    ) -> None:
        self.graph, self.config, self.at, self.reviewer = graph, config, at, reviewer
        self.reason, self.status = ipywidgets.HTML(), ipywidgets.HTML()
        self.text = ipywidgets.Textarea(
            description="Proposal",
            rows=12,
            layout={"width": "46em"},
        )
        self.approve = _button("Approve", "success", "Act on the proposal as it is")
        self.edit = _button("Edit", "warning", "Act on the text above instead")
        self.reject = _button("Reject", "danger", "Do nothing; the task ends as rejected")
        for button in (self.approve, self.edit, self.reject):
            button.on_click(self._pressed)
        self._show()
        row = ipywidgets.HBox([self.approve, self.edit, self.reject])
        super().__init__([self.reason, self.text, row, self.status])

    def _show(self) -> None:
        """Show what the graph waits for, if anything."""
        waiting = self.graph.get_state(self.config).interrupts
        shown: Any = waiting[0].value if waiting else {"reason": "nothing", "proposal": None}
        self.proposal: Answer | None = shown["proposal"]
        self.reason.value = f"<b>A person is needed:</b> {escape(shown['reason'])}"
        if not waiting:
            self.reason.value = "<b>Nothing waits for a person.</b>"
        self.text.value = json.dumps(self.proposal or {}, indent=2, ensure_ascii=False)
        self._shown = self.text.value
        self.text.disabled = self.edit.disabled = self.reject.disabled = not waiting
        self.approve.disabled = not waiting or self.proposal is None
        self._say("Waiting for your decision." if waiting else "")

    def _say(self, text: str) -> None:
        self.status.value = f'<p role="status">{escape(text)}</p>'

    def _pressed(self, button: Any) -> None:
        if button.disabled:
            return
        if button is self.edit:
            answer, problem = self._edited()
        else:
            changed = button is self.approve and self.text.value != self._shown
            answer, problem = None, _CHANGED if changed else ""
        if problem:
            self._say(f"{problem} Nothing was sent and your text is kept.")
            return
        decision = button.description.lower()
        self._resume(Verdict(decision, answer, self.reviewer))

    def _edited(self) -> tuple[Answer | None, str]:
        """The answer in the text area, or what is wrong with it in one line."""
        try:
            data = json.loads(self.text.value)
            answer = self.at.case.steps[-1].schema.model_validate(data)
        except json.JSONDecodeError as error:
            return None, f"Not JSON, line {error.lineno}, column {error.colno}: {error.msg}."
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole text"
            return None, f"Not an answer of this step, {place}: {first['msg']}."
        return answer.model_dump(mode="json"), ""

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


_CHANGED = "The text was changed: press Edit to act on it, or undo the change to approve."


def _button(name: str, style: str, tooltip: str) -> Any:
    return ipywidgets.Button(description=name, button_style=style, tooltip=tooltip)
