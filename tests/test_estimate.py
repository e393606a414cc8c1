"""coordkit.estimate and coordkit.prices: what a run will cost, and from which price list."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

import coordkit
from coordkit.estimate import confirm, estimate, what_is_shown
from coordkit.experiment import Settings, case_of, run, simulated_model
from coordkit.prices import LIST_PRICES, Prices, list_price
from coordkit.stack import Stack

SETTINGS = Settings("billing", tasks=4, trials=2)
STACKS = [Stack(), Stack.rung(4)]


def model(**options: Any) -> Any:
    return coordkit.model(simulated_model(case_of(SETTINGS)), **options)


def test_an_estimate_is_what_the_simulated_model_takes(tmp_path: Path) -> None:
    planned = estimate(SETTINGS, STACKS, model(prices=Prices(1.0, 4.0)))
    table, _ = run(Settings("billing", tasks=4), STACKS, tmp_path, 1)
    assert planned.trials == 4 * 2 * 2
    assert planned.calls == pytest.approx(2 * table["calls"].sum())
    sent, received = 2 * table["input_tokens"].sum(), 2 * table["output_tokens"].sum()
    assert planned.usd == pytest.approx((sent + 4 * received) / 1e6)
    assert "yours" in planned.price and "remittance_text" in str(planned)


def test_a_sample_is_scaled_up_and_no_request_is_sent() -> None:
    asked = model()
    planned = estimate(Settings("billing", tasks=40), [Stack()], asked, sample=2)
    assert planned.trials == 40 and planned.calls == pytest.approx(40, abs=1)
    assert asked.meter.sent == 0
    assert planned.usd is None and "at unknown prices" in str(planned)


def test_a_graph_of_two_stacks_is_estimated_once() -> None:
    alone, planned = Stack.of("context"), Stack.of("context", "planning")
    both, one = (estimate(SETTINGS, s, model()) for s in ([alone, planned], [planned]))
    assert (both.trials, both.calls) == (one.trials, one.calls) == (8, pytest.approx(8, abs=1))


def test_what_is_shown_names_columns_and_no_label() -> None:
    shown = what_is_shown(SETTINGS)
    assert "payer_name" in shown and "invoices (invoice_id" in shown and "label" not in shown


def test_a_person_is_asked_unless_it_is_as_good_as_free(capsys: Any) -> None:
    planned = estimate(SETTINGS, [Stack()], model(prices=Prices(1.0, 4.0)))
    assert confirm(planned, lambda question: "y") and not confirm(planned, lambda question: "")
    assert "about" in capsys.readouterr().out
    assert confirm(planned, lambda question: "no", free_below=1.0)
    unknown = estimate(SETTINGS, [Stack()], model())
    assert not confirm(unknown, lambda question: "no", free_below=1.0), "unknown is not free"


def test_every_list_price_has_a_date_and_a_source() -> None:
    for name, price in LIST_PRICES.items():
        assert 0 < price.input_per_million < price.output_per_million, name
        assert date.fromisoformat((price.date + "-01")[:10]) > date(2025, 1, 1) and price.source
    assert list_price("openai:gpt-4.1-mini") == list_price("gpt-4.1-mini") is not None
    assert list_price("openai:my-own-model") is None
