"""How ids look is read from the table, told in the prompt, and found in free text."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordkit.cases import load_case
from coordkit.cases.base import Case
from coordkit.data.sample import sample
from coordkit.experiment import Settings, run
from coordkit.faults import Simulation
from coordkit.ids import IdForms
from coordkit.prompt import Prompt
from coordkit.stack import Stack

NOUNS = ("invoice", "inv", "rechnung")


def forms(*ids: str, nouns: tuple[str, ...] = NOUNS) -> IdForms:
    return IdForms(("INV-1",), nouns).of(ids)


@pytest.mark.parametrize(
    ("ids", "examples"),
    [
        ((), ("INV-1",)),
        (("INV-20001", "INV-20002"), ("INV-12345",)),
        (("RE-998", "RE-1002", "RE-1003"), ("RE-123",)),
        (("2026/0113", "RE-1", "RE-2"), ("RE-3", "1234/1234")),
        (("5002", "998", "999"), ("123", "1234")),
        (("RE-25-1", "RE-26-10"), ("RE-12-1",)),
        (("INV-12345", "INV-23456"), ("INV-34567",)),
        (("ABC", "INV(1)", "1,2", "UN-1 or 2"), ("INV-1",)),
        (("A1", "B1", "C1", "D1", "E1", "F1"), ("A2", "B2", "C2", "D2", "E2")),
    ],
)
def test_examples_have_the_forms_of_the_table_and_nobodys_digits(ids, examples) -> None:
    assert forms(*ids).examples == examples


@pytest.mark.parametrize(
    ("ids", "text", "found"),
    [
        (("RE-5002",), "Zahlung RE5002, Rechnung Nr. 5003", ["RE-5002", "RE-5003"]),
        (("RE-5002",), "INVOICE NO 5002 RE-5002", ["RE-5002"]),
        (("RE-5002",), "REF 5002, SCARE-5002, RE-5002A, RENT 5002", []),
        (("RE-5002",), "INV-20417", ["RE-20417"]),  # what is no invoice is not matched later
        (("2026/0113",), "2026/0113 und 2026-0114", ["2026/0113", "2026/0114"]),
        (("2026/0113",), "12026/0113, 2026/01134, 2026/011, paid in 2026", []),
        (("2026/0113",), "/RFB/2026/0113/2026/0114", ["2026/0113", "2026/0114"]),
        (("2026/0113",), "2026/0113,2026/0114", ["2026/0113", "2026/0114"]),
        (("5002",), "5002,5003 Invoice no.5004 INV.5005", ["5002", "5003", "5004", "5005"]),
        (("5002",), "1,500 and 5,002 and 12,500", []),
        (("RÜ-5002",), "rü 5003", ["RÜ-5003"]),
        (("RE+5002",), "re+5003, RE 5004", ["RE+5003", "RE+5004"]),
        (("RE-5002",), "Rechnungs-Nr. 5003, Rechnungsnr.5004", ["RE-5003", "RE-5004"]),
        (("RE-5002",), "Rechnungsnummer 5003, Invoices 5004", ["RE-5003", "RE-5004"]),
        (("RE-5002",), "invoice id 5003 of RE 30.06.2026", ["RE-5003"]),
        (("RE-998",), "Rechnung 997 and invoice no. 996", ["RE-997", "RE-996"]),
        (("RE-2",), "invoice: 2 parcels", []),  # of so short a number only the letters tell
        (("12345678901234567890123",), "98765432109876543210987", ["98765432109876543210987"]),
        (("5002",), "for 5002 and 5003", ["5002", "5003"]),
        (("5002",), "5002.00 EUR on 2026-05-03, 50021, 1-5002", []),
        (("W2611340",), "PAYMENT W5272531 FATIMA", ["W5272531"]),
        (("RE-26-001", "RE-26-001/2"), "re 26 004, RE-26-003/4", ["RE-26-004", "RE-26-003/4"]),
        (("re_2026_a17",), "RE 2026 B18", ["re_2026_b18"]),
    ],
)
def test_ids_are_found_in_their_houses_form(ids, text: str, found: list[str]) -> None:
    assert forms(*ids).find(text) == found


def test_a_bare_sign_counts_only_where_the_house_uses_it() -> None:
    assert forms("ORD-10001", nouns=("order", "#")).first("it is #10002, thanks") == "ORD-10002"
    assert forms("ORD-10001", nouns=("order",)).first("it is #10002, thanks") == ""


def test_in_a_letter_a_number_alone_is_no_id() -> None:
    orders = IdForms(("ORD-1",), ("order", "#"), alone=False)
    letter = "I ordered in May 2026, for 1500 EUR. Where is order 1501, or #1502?"
    assert orders.of(["1500"]).find(letter) == ["1501", "1502"]
    assert orders.of(["2026/0417"]).find("Where is 2026/0418?") == ["2026/0418"]


def test_ids_that_no_text_could_tell_are_counted() -> None:
    ids = ["RE-5002", "ABC", "(7)8", "RE-5003"]
    assert forms(*ids).unread(ids) == ["ABC", "(7)8"]


IDS = st.from_regex(r"[A-Z]{1,4}[-/ ]?\d{3,7}", fullmatch=True) | st.from_regex(
    r"20\d\d[-/]\d{4}|\d{5,8}|[A-Z]{2}-20\d\d-\d{4}", fullmatch=True
)


@given(st.lists(IDS, min_size=1, max_size=5, unique=True))
def test_an_id_of_the_table_is_found_as_it_stands_there(ids: list[str]) -> None:
    assert forms(*ids).find(f"PAYS: {ids[0]} ; THANKS") == [ids[0]]


@given(st.lists(IDS, max_size=3, unique=True))
def test_what_is_told_in_an_instruction_is_read_there(ids: list[str]) -> None:
    told = forms(*ids)
    instruction = f"Write it in the house form ({told}, whether printed as 'x'). Then stop."
    assert forms("X-1").told(instruction) == told
    assert forms("X-1").told("Write it as it is.") == forms("X-1")


# --- the same work in another house's ids ---------------------------------------------------------


def rewritten(case: str, to: Callable[[str], str], folder: Path) -> Path:
    """The sample with all its invoices or orders renumbered, wherever they are named."""
    name = {"billing": r"\bINV(?:OICE)?(?:\W*NO\W+|\W*)(\d{5,6})\b",
            "support": r"(?:\bORD-|#|(?<=order )|(?<=number ))(\d{5})\b"}[case]  # fmt: skip
    with sample(case, None, None) as source:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    for table in folder.glob("*.csv"):
        text = table.read_text(encoding="utf-8")
        renumbered = re.sub(name, lambda m: to(m[1]), text, flags=re.IGNORECASE)
        table.write_text(renumbered, encoding="utf-8")
    return folder


HOUSES = {
    "RE-20417": lambda n: f"RE-{n}",
    "2026/0417": lambda n: f"{2000 + int(n) // 10000}/{int(n) % 10000:04}",
    "RE 2026-A417": lambda n: f"RE {2000 + int(n) // 10000}-A{int(n) % 10000:04}",
}


def intents(case: Case) -> list[Any]:
    """What is understood of each message; an id is a word too, and a classifier weighs words."""
    read = case.skills()["Classify"] if case.name == "support" else lambda prompt: {}
    return [read(Prompt(None, task=dict(task.fields))).get("intents") for task in case.tasks]


@pytest.mark.parametrize("house", HOUSES)
@pytest.mark.parametrize("name", ["billing", "support"])
def test_the_same_work_comes_out_the_same_in_another_houses_ids(tmp_path, name, house) -> None:
    data = rewritten(name, HOUSES[house], tmp_path / "theirs")
    failures, understood = [], []
    for directory in (None, data):
        settings = Settings(
            name, 60, data=str(directory or ""), simulation=Simulation(reliability=1)
        )
        rows, _ = run(settings, [Stack.rung(6)], tmp_path / "runs", processes=1)
        failures.append(dict(zip(rows["task"], rows["failure"], strict=True)))
        case = load_case(name, directory, 60)
        understood.append(dict(zip((task.id for task in case.tasks), intents(case), strict=True)))
    same = [task for task, found in understood[0].items() if found == understood[1][task]]
    assert len(same) >= 50
    assert [failures[0][task] for task in same] == [failures[1][task] for task in same]


def test_the_prompt_speaks_of_the_houses_ids_alone(tmp_path) -> None:
    data = rewritten("billing", HOUSES["2026/0417"], tmp_path / "theirs")
    case = load_case("billing", data)
    assert "(1234/1234, whether" in case.step("extract").instruction
    assert "INV-" not in "".join(step.instruction for step in case.steps)
