"""coordkit: six coordination layers for agents, built one at a time and measured.

What is measured, and how, is an afternoon's reading (under 3,000 lines of code, 4,600 with
their prose), in this order; `coordkit trace support TKT-000077` tells one trial of it:

    prompt          what a model is shown, and how it is found again in the text of a request
    environment     the database that the tools read and write
    cases.base      what a case is: steps, tasks, tools, checks, grading
    cases.billing   one of the two cases
    layers          the six layers, as notebooks 01 to 06 build them
    stack           which layers are on, as one LangGraph
    faults          when the simulated model slips, how, and what became of it
    simulated       the simulated model itself
    reliability     the mathematics of chains and of repeated attempts
    statistics      intervals and paired tests
    experiment      trials in, one table out
    ladder          the table summed up, layer by layer

The rest is there for a reader's own work and can be left alone until then:

    cases.support, language                                       the other case
    cases.own, data, ids, own_data, labelling                     your own case, your own tables
    models, forms, response_cache, prices, estimate, calibration  your own model
    serve                                                         the simulated model over HTTP
    lesson, explorers, exercises, widgets, approval               what the notebooks show and ask
    cases.relay, formula, attribution                             what notebooks 00 and 07 compare
    plots, pictures, trace, report, book                          figures, stories, pages
    cli, check                                                    the command
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


def model(spec: str | BaseChatModel = "simulated", **options: Any) -> BaseChatModel:
    """A chat model by name, or your own; see `coordkit.models.make` for the options."""
    from coordkit.models import make

    return make(spec, **options)
