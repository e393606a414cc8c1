"""Layer 5, verification: nothing propagates before it is checked.

Off: an answer goes on as it is. On: schema, citation, referential, arithmetic and policy checks;
a failed check loops back with the critique, a bounded number of times; then the task is held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordkit.cases.base import Case, Check, Evidence
from coordkit.prompt import Answer


def check_citations(answer: Answer, evidence: Evidence) -> list[str]:
    """Every source cited was in front of the agent."""
    missing = [s for s in answer.get("sources", []) if s not in evidence.seen]
    return [f"you were not shown {source}" for source in missing]


def verify(
    answer: Answer | None, checks: Sequence[Check], evidence: Evidence, problem: str = ""
) -> list[str]:
    """All objections to one answer, empty if it may pass.

    Args:
        answer: the answer; None if the output did not fit the schema.
        checks: the case's checks for this step.
        evidence: what the checks may look at.
        problem: why there is no answer.
    """
    if answer is None:
        return [problem or "there is no answer"]
    return [p for check in (check_citations, *checks) for p in check(answer, evidence)]


def verify_all(
    case: Case, answers: Mapping[str, Answer], evidence: Evidence, steps: Sequence[str]
) -> list[str]:
    """Check several answers, each in the light of those before it; objections name their step."""
    found, earlier, checks = [], dict(evidence.answers), case.checks()
    for step in steps:
        at = Evidence(evidence.task, earlier, evidence.seen, evidence.environment)
        problems = verify(answers[step], checks.get(step, ()), at)
        found += [f"{step}: {problem}" for problem in problems]
        earlier[step] = answers[step]
    return found
