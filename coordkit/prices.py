"""What calls cost: the price table, with the date and source of every line."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """What calls and reviews cost and how long calls take; only these turn counts into money.

    Args:
        input_per_million, output_per_million: USD per million tokens; the defaults are the list
            price of gpt-4.1-mini of 2025-04-14. None if not known.
        per_review: USD per review; three minutes of a person at 30 USD an hour (our assumption).
        first_token_seconds, tokens_per_second: latency of a call (our assumption).
    """

    input_per_million: float | None = 0.40
    output_per_million: float | None = 1.60
    per_review: float = 1.50
    first_token_seconds: float = 0.5
    tokens_per_second: float = 80.0

    def of_tokens(self, sent: float, received: float) -> float:
        """USD for so many tokens; NaN if a price is not known."""
        if self.input_per_million is None or self.output_per_million is None:
            return math.nan
        return (sent * self.input_per_million + received * self.output_per_million) / 1e6


@dataclass(frozen=True)
class ListPrice(Prices):
    """One line of the price table, with when and where it was read."""

    date: str = ""
    source: str = ""


_OPENAI = (
    "developers.openai.com/api/docs/pricing, as quoted by deploybase.ai/articles/openai-pricing"
)
_LITELLM = "litellm's price list as quoted by github.com/cuihuan/llm-gateway-bench"

LIST_PRICES = {
    "gpt-4.1": ListPrice(2.00, 8.00, date="2026-03", source=_OPENAI),
    "gpt-4.1-mini": ListPrice(0.40, 1.60, date="2026-03", source=_OPENAI),
    "gpt-4.1-nano": ListPrice(0.10, 0.40, date="2026-03", source=_OPENAI),
    "gpt-5": ListPrice(1.25, 10.00, date="2026-03", source=_OPENAI),
    "gpt-5-mini": ListPrice(0.25, 2.00, date="2026-03", source=_OPENAI),
    "gpt-5-nano": ListPrice(0.05, 0.40, date="2026-03", source=_OPENAI),
    "claude-sonnet-4-5": ListPrice(3.00, 15.00, date="2026-07-11", source=_LITELLM),
    "claude-haiku-4-5": ListPrice(1.00, 5.00, date="2026-07-11", source=_LITELLM),
    "gemini-2.5-flash": ListPrice(0.30, 2.50, date="2026-07-11", source=_LITELLM),
}


def list_price(model: str) -> ListPrice | None:
    """The list price of a model, None if the table has none.

    Args:
        model: its name, with or without a provider in front (``provider:name``).
    """
    return LIST_PRICES.get(model.rpartition(":")[2])
