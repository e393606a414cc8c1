"""coordkit: six coordination layers for agents, built one at a time and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


def model(spec: str | BaseChatModel = "simulated", **options: Any) -> BaseChatModel:
    """A chat model by name, or your own; see `coordkit.models.make` for the options."""
    from coordkit.models import make

    return make(spec, **options)
