"""Faults: when the simulated model slips, and what a slip does to its answer.

Every draw is keyed by what is being asked (seed, task, step, attempt), never by a running
generator. Two stacks therefore meet the same dice, and the order of tasks cannot matter.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from math import copysign
from typing import Any

from scipy.special import ndtr, ndtri

from coordkit.prompt import Answer, Prompt, Request
from coordkit.reliability import check_fractions, difficulty_quantile

# Shares of the observed failures of 1,642 multi-agent traces: Cemri et al., "Why Do Multi-Agent
# LLM Systems Fail?", arXiv:2503.13657v3, figure of the 14 modes (MAST). The grouping into slips of
# a single call is ours: FM-1.3, 1.5, 2.3, 3.1 -> wrong tool or step; FM-1.1, 1.2 -> ignored
# instruction; FM-2.6 -> wrong pick; FM-3.3 -> transposed digits; FM-3.2, 2.4 -> dropped item;
# FM-1.4, 2.1, 2.5 -> stale value; FM-2.2 -> invented reference.
MAST_MIX: Mapping[str, float] = {
    "wrong_tool_or_step": 15.7 + 12.4 + 7.4 + 6.2,
    "ignored_instruction": 11.8 + 1.5,
    "wrong_pick": 13.2,
    "transposed_digits": 9.1,
    "dropped_item": 8.2 + 0.85,
    "stale_value": 2.8 + 2.2 + 1.9,
    "invented_reference": 6.8,
}
TRANSPORT = ("rate_limited", "server_error", "timed_out")
MALFORMED = ("malformed_json", "truncated_json")


def default_mix() -> dict[str, float]:
    """Weights of the slip modes: MAST's, with a tenth for malformed output and for transport.

    MAST counts neither of the two; 5 % each of all slips is our own choice and a setting.
    """
    total = sum(MAST_MIX.values())
    mix = {mode: 0.90 * weight / total for mode, weight in MAST_MIX.items()}
    mix |= {mode: 0.05 / len(MALFORMED) for mode in MALFORMED}
    return mix | {mode: 0.05 / len(TRANSPORT) for mode in TRANSPORT}


@dataclass(frozen=True)
class Simulation:
    """Settings of the simulated model.

    Args:
        reliability: probability 0..1 that one attempt at a step goes without a slip when asked
            alone; 0.96 is the articles' "each agent ~96 %". A slip of the look-up can leave the
            answer right (a document was not needed after all), so answers are right a little
            more often.
        correlation: correlation 0..1 of repeated attempts at the same step of the same task; 0.32
            is the median of the beta-binomial fits (mean held at pass^1) to 16 published pass^1..4
            curves (tau2-bench retail leaderboard, snapshot 2026-08-18).
        crowding: reliability lost by every answer of a call per further answer that is asked for.
            Harada et al. (arXiv:2509.21051 and openreview R6q67CDBCH) report that 15 % (GPT-4o)
            and 44 % (Claude 3.5 Sonnet) of prompts with ten instructions have all of them
            followed, which is 0.83 and 0.92 per instruction; from 0.96 at one instruction to their
            middle, 0.874, at ten is 0.0096 per further instruction (the straight line is ours).
            It scales with 1 - reliability, so a faultless model does not crowd.
        confidence_auc: probability that a right answer reports more confidence than a wrong one.
            0.627: GPT-4's mean AUROC in Xiong et al., "Can LLMs Express Their Uncertainty?",
            arXiv:2306.13063.
        seed: seed of the dice.
        mix: relative weight of each slip mode.

    Raises:
        ValueError: if a probability lies outside its range or a mode is unknown.
    """

    reliability: float = 0.96
    correlation: float = 0.32
    crowding: float = 0.0096
    confidence_auc: float = 0.627
    seed: int = 0
    mix: Mapping[str, float] = field(default_factory=default_mix)

    def __post_init__(self) -> None:
        check_fractions(
            reliability=self.reliability, correlation=self.correlation, crowding=self.crowding
        )
        if not 0.5 <= self.confidence_auc < 1:
            raise ValueError(f"confidence_auc must be in [0.5, 1), not {self.confidence_auc}")
        if unknown := set(self.mix) - set(default_mix()):
            raise ValueError(f"unknown slip modes: {', '.join(sorted(unknown))}")
        if sum(self.mix.values()) <= 0 or min(self.mix.values()) < 0:
            raise ValueError("the mix of slip modes needs a positive weight, and no negative one")

    def step_reliability(self, asked: int) -> float:
        """Reliability of one answer in a call that asks for ``asked`` answers.

        The published drop was measured on models near 0.96; it is scaled by (1 - p) / 0.04.
        """
        drop = self.crowding * (asked - 1) * (1 - self.reliability) / 0.04
        return max(0.0, self.reliability - drop)


def uniform(*key: object) -> float:
    """A uniform draw in [0, 1) that depends on the key alone."""
    digest = blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def slips(settings: Simulation, request: Request, asked: int = 1) -> bool:
    """Whether this attempt goes wrong. Attempts share the task's difficulty, not their luck."""
    u = uniform(settings.seed, "difficulty", request.task, request.step)
    q = _difficulty(u, settings.step_reliability(asked), settings.correlation)
    return uniform(settings.seed, "slip", request) >= q


@lru_cache(maxsize=1024)
def _difficulty(u: float, reliability: float, correlation: float) -> float:
    """Kept, for every attempt at a step of a task asks for the same one."""
    return float(difficulty_quantile(u, reliability, correlation))


def pick_mode(
    settings: Simulation, request: Request, possible: list[str], draw: str = "mode"
) -> str:
    """Draw a slip mode from the mix, restricted to the modes that this answer admits.

    Args:
        settings: the mix and the seed.
        request: keys the draw.
        possible: modes to choose from.
        draw: names the draw; a second choice for the same request needs a draw of its own.
    """
    weights = [settings.mix.get(mode, 0.0) for mode in possible]
    target = uniform(settings.seed, draw, request) * sum(weights)
    for mode, weight in zip(possible, weights, strict=True):
        target -= weight
        if target < 0:
            return mode
    return possible[-1]


def confidence(settings: Simulation, request: Request, right: bool) -> float:
    """A reported confidence 0..1; equal-variance signal detection gives the set AUC.

    d' = sqrt(2) * ndtri(AUC) (Green & Swets 1966). Mean 0.77 when right, 0.70 when wrong.
    """
    shift = 2**0.5 * float(ndtri(settings.confidence_auc))
    noise = float(ndtri(min(max(uniform(settings.seed, "confidence", request), 1e-9), 1 - 1e-9)))
    return round(float(ndtr(0.6 + 0.5 * (noise + (shift if right else 0.0)))), 3)


# --- what a slip does to an answer -----------------------------------------------------------

_ID = re.compile(r"\b[A-Z]{1,5}-?\d{3,}\b")
_AMOUNT = re.compile(r"\b\d+\.\d{2}\b")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_DIGITS = re.compile(r"\d{2,}")
_SENTENCE = re.compile(r"(?<=[.!?]) ")

ROUTING_FIELDS = ("next_step", "order_of_steps")  # answers that choose a step, not a fact

Site = tuple[tuple[Any, ...], Any, dict[str, Any]]
# (value, its schema, a uniform draw, the prompt) -> a wrong value; None if there is none to be had
Slip = Callable[[Any, dict[str, Any], float, Prompt], Any]


def _sites(value: Any, schema: dict[str, Any], path: tuple[Any, ...] = ()) -> Iterator[Site]:
    """Every place in an answer that can go wrong, with its part of the response schema.

    Reliability is about the answer's content: a slip always hits content, never a citation alone.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in ("confidence", "sources"):
                yield from _sites(item, schema.get("properties", {}).get(key, {}), (*path, key))
        return
    yield path, value, schema
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _sites(item, schema.get("items", {}), (*path, index))


def _choose(options: Sequence[Any], u: float, but: Any = None) -> Any:
    """One of some options, but not a certain one; None if nothing is left to choose from."""
    others = [option for option in options if option != but]
    return others[int(u * len(others))] if others else None


def _seen(pattern: re.Pattern[str], prompt: Prompt) -> list[str]:
    """What stands in the prompt in a certain form."""
    return sorted(set(pattern.findall(prompt.text)))


def _replace_token(text: str, pattern: re.Pattern[str], u: float, new: Callable[[str], Any]) -> Any:
    """Replace one token of a text; None where there is nothing to replace."""
    tokens = list(pattern.finditer(text))
    token = _choose(tokens, u)
    other = new(token.group()) if token else None
    return None if other is None else text[: token.start()] + other + text[token.end() :]


def _near_miss(token: str, prompt: Prompt) -> str | None:
    """The visible id that looks most like this one without being it."""

    def letters(key: str) -> str:
        return re.split(r"\d", key)[0]

    def likeness(other: str) -> int:
        return sum(a == b for a, b in zip(other, token, strict=False))

    alike = [t for t in _seen(_ID, prompt) if letters(t) == letters(token) and t != token]
    return max(alike, key=likeness, default=None)


def _swap_digits(digits: str) -> str | None:
    """The middle one of the pairs of neighbours that differ, the other way round."""
    pairs = [i for i in range(len(digits) - 1) if digits[i] != digits[i + 1]]
    if not pairs:
        return None
    i = pairs[len(pairs) // 2]
    return digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :]


def _transposed_digits(value: Any, schema: dict[str, Any], u: float, prompt: Prompt) -> Any:
    """Two neighbouring digits of an amount, or of a number in a text, change places."""
    if isinstance(value, float):
        swapped = _swap_digits(f"{abs(value):.2f}".replace(".", ""))
        return None if swapped is None else round(copysign(int(swapped) / 100, value), 2)
    return _replace_token(value, _DIGITS, u, _swap_digits) if isinstance(value, str) else None


def _wrong_pick(value: Any, schema: dict[str, Any], u: float, prompt: Prompt) -> Any:
    """Another id that stands in the prompt: the one that looks most like the right one."""
    if isinstance(value, str):
        return _replace_token(value, _ID, u, lambda token: _near_miss(token, prompt))
    return None


def _invented_reference(value: Any, schema: dict[str, Any], u: float, prompt: Prompt) -> Any:
    """An id that stands nowhere in the prompt."""

    def invent(token: str) -> str | None:
        head, digits = re.match(r"(\D*)(\d+)", token).groups()  # type: ignore[union-attr]
        for step in range(1, 50):
            other = f"{head}{(int(digits) + step * 7) % 10 ** len(digits):0{len(digits)}d}"
            if other not in prompt.text:
                return other
        return None

    return _replace_token(value, _ID, u, invent) if isinstance(value, str) else None


def _dropped_item(value: Any, schema: dict[str, Any], u: float, prompt: Prompt) -> Any:
    """An item of a list, or a sentence of a text, is left out."""
    if isinstance(value, list) and value:
        gone = int(u * len(value))
        return value[:gone] + value[gone + 1 :]
    if isinstance(value, str):
        sentences = _SENTENCE.split(value)
        if len(sentences) > 1:
            del sentences[int(u * len(sentences))]
            return " ".join(sentences)
    return None


def _stale_value(value: Any, schema: dict[str, Any], u: float, prompt: Prompt) -> Any:
    """Another amount or date that stands in the prompt."""
    if isinstance(value, float):
        return _choose([float(amount) for amount in _seen(_AMOUNT, prompt)], u, but=value)
    if not isinstance(value, str):
        return None

    def other(pattern: re.Pattern[str]) -> Any:
        seen = _seen(pattern, prompt)
        return _replace_token(value, pattern, u, lambda token: _choose(seen, u, but=token))

    date = other(_DATE)
    return other(_AMOUNT) if date is None else date


def _plausible(schema: dict[str, Any], u: float, prompt: Prompt) -> Any:
    """A value that fits a schema and is made of what stands in the prompt; None if nothing fits."""
    if "properties" in schema:
        parts = {k: _plausible(part, u, prompt) for k, part in schema["properties"].items()}
        return None if None in parts.values() else parts
    if "enum" in schema:
        return _choose(schema["enum"], u)
    if schema.get("type") == "number":
        return _choose([float(amount) for amount in _seen(_AMOUNT, prompt)], u)
    return _choose(_seen(_ID, prompt), u)


def _ignored_instruction(value: Any, schema: dict[str, Any], u: float, prompt: Prompt) -> Any:
    """Does what was not to be done, or chooses another of the set answers."""
    if value == [] and "items" in schema:  # does what was not to be done
        extra = _plausible(schema["items"], u, prompt)
        return None if extra is None else [extra]
    if isinstance(value, bool):
        return not value
    if "enum" in schema:
        return _choose(schema["enum"], u, but=value)
    if isinstance(value, list) and value and "enum" in schema.get("items", {}):
        other = _choose([c for c in schema["items"]["enum"] if c not in value], u)
        return None if other is None else [other]
    return None


def _wrong_step(value: Any, schema: dict[str, Any], u: float, prompt: Prompt) -> Any:
    """Another step, or two neighbouring steps of a plan the wrong way round."""
    if isinstance(value, str) and "enum" in schema:
        return _choose(schema["enum"], u, but=value)
    if isinstance(value, list) and len(value) > 1:
        i = int(u * (len(value) - 1))
        return [*value[:i], value[i + 1], value[i], *value[i + 2 :]]
    return None


SLIPS: Mapping[str, Slip] = {
    "wrong_tool_or_step": _wrong_step,
    "ignored_instruction": _ignored_instruction,
    "wrong_pick": _wrong_pick,
    "transposed_digits": _transposed_digits,
    "dropped_item": _dropped_item,
    "stale_value": _stale_value,
    "invented_reference": _invented_reference,
}


def apply_slip(
    mode: str, answer: Answer, schema: dict[str, Any], prompt: Prompt, u: float
) -> Answer | None:
    """The answer with one slip in it, or None if this mode cannot hit this answer.

    Args:
        mode: a key of ``SLIPS``.
        answer: the right answer; it is not changed.
        schema: the answer's JSON schema (for its choices).
        prompt: what the model sees: near misses and stale values come from there.
        u: uniform draw that picks the place.
    """
    changed = []
    inner = (u * 997) % 1  # a second draw: which token within the place
    for path, value, part in _sites(answer, schema):
        if (mode == "wrong_tool_or_step") != (path[-1] in ROUTING_FIELDS):
            continue
        other = SLIPS[mode](value, part, inner, prompt)
        if other is not None and other != value:
            changed.append((path, other))
    if not changed:
        return None
    path, other = changed[int(u * len(changed))]
    result = copy.deepcopy(answer)
    target: Any = result
    for key in path[:-1]:
        target = target[key]
    before, target[path[-1]] = target[path[-1]], other
    return _cite_what_was_taken(result, before, other)


def with_slip(
    settings: Simulation,
    request: Request,
    mode: str,
    answer: Answer,
    schema: dict[str, Any],
    prompt: Prompt,
) -> tuple[str, Answer] | None:
    """A mode of the mix and the answer with a slip of that mode; None if it admits no slip.

    Args:
        settings: the mix and the seed.
        request: keys the draws.
        mode: the mode wanted; where the answer does not admit it, another is drawn.
        answer, schema, prompt: as for `apply_slip`.
    """
    u = uniform(settings.seed, "place", request)
    modes = [m for m in SLIPS if settings.mix.get(m)]
    hit = {m: apply_slip(m, answer, schema, prompt, u) for m in modes}
    possible = {m: other for m, other in hit.items() if other is not None}
    if not possible:
        return None
    if mode not in possible:  # a draw of its own: the first one is conditioned by now
        mode = pick_mode(settings, request, list(possible), "second mode")
    return mode, possible[mode]


def _cite_what_was_taken(answer: Answer, before: Any, after: Any) -> Answer:
    """An answer that takes another id cites that id: the citation follows the mistake."""
    if isinstance(before, str) and isinstance(after, str) and "sources" in answer:
        old, new = set(_ID.findall(before)), set(_ID.findall(after))
        for gone, come in zip(sorted(old - new), sorted(new - old), strict=False):
            answer["sources"] = [source.replace(gone, come) for source in answer["sources"]]
    return answer
