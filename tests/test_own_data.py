"""One's own folder: what was found is told, picked columns are kept, one's own case takes part."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor
from typer.testing import CliRunner

from coordkit import experiment
from coordkit.cases import CaseFailed, UnknownCase, blaming, load_case
from coordkit.cli import app
from coordkit.data import DataError, generate_support, read_billing, write_dataset
from coordkit.data.generate_billing import house_rules
from coordkit.data.schemas import BILLING_LABELS
from coordkit.experiment import Settings, run
from coordkit.own_data import columns_sent, describe, look, picker
from coordkit.stack import Stack

FILES = {
    "Rechnungen.csv": (
        "Rechnungs-Nr.;Kunden-Nr.;Kunde;Rechnungsdatum;Fällig am;Betrag;Brutto;Währung\n"
        "INV-1001;C1;Ada;01.06.2026;01.07.2026;9,00;1.100,00;EUR\n"
    ),
    "Bank.csv": (
        "Umsatz-ID;Buchungstag;Auftraggeber;Betrag;Verwendungszweck\n"
        "P1;13.06.2026;Ada;1.100,00;INV-1001\nP2;14.06.2026;Ada;5,00;?\n"
    ),
}
SAID = '[payments.values]\ncurrency = "EUR"\n'
CASE = """
from coordkit.cases.relay import Relay

class Mine(Relay):
    name = "mine"

    def __init__(self, directory=None):
        super().__init__(steps={steps}, tasks=120)

def nothing(directory):
    return 3
"""


@pytest.fixture
def folder(tmp_path):
    write_dataset(FILES | {"columns.toml": SAID}, tmp_path)
    return tmp_path


def test_what_was_found_is_told(folder):
    told = describe(folder, "billing")
    for line in (
        "invoices: Rechnungen.csv, 1 rows (separated by ';')",
        "issued_on        = Rechnungsdatum, read as day-first",
        "amount           = Betrag, read as having a decimal comma",
        "currency         = always 'EUR'",
        "settles_invoice  = (none)",
        "  not used: Brutto",
        "customers: none (optional)",
    ):
        assert line in told
    with pytest.raises(DataError, match="no such directory"):
        describe(folder / "nowhere", "billing")


def test_the_rules_are_told_as_they_are_understood(folder):
    assumed = describe(folder, "billing").split("rules assumed, ")[1]
    assert assumed.startswith("for there is no terms/house.md:\n")
    for rule in (
        "discount         = 2% within 30 days of the invoice date\n",
        "bank charges     = up to 15.00\n",
        "approval         = refunds above 500.00\n",
    ):
        assert rule in assumed
    house = house_rules("1.5% if paid within 7 days of the invoice date", "borne by the customer")
    house = house.replace("kept on account", "refunded").replace("500.00", "EUR 1,250.00")
    write_dataset({**FILES, "columns.toml": SAID, "terms/house.md": house}, folder)
    told = describe(folder, "billing").split("rules of ")[1].split("\n\n")[0].splitlines()
    assert told[:-1] == [
        "terms/house.md:",
        "  discount         = 1.5% within 7 days of the invoice date",
        "  bank charges     = none",
        "  over-payments    = refunded",
        "  approval         = refunds above 1250.00",
    ]
    (folder / "terms" / "house.md").write_text("3% early payment discount when paid in 10 days.")
    told = describe(folder, "billing").split("rules of ")[1]
    for rule in (
        'none (assumed: no line reads like "Early-payment discount: 2% if paid within 30 days …")',
        'refunds above 500.00 (assumed: no line reads like "Refunds above 500.00 need …")',
    ):
        assert f" = {rule}\n" in told


def test_customers_own_terms_that_change_nothing_are_told(folder):
    assert "customers' own" not in describe(folder, "billing")
    (folder / "terms").mkdir()
    for customer, text in {
        "C1": "3% early-payment discount.",
        "C9": "Bank charges: borne.",
    }.items():
        (folder / "terms" / f"{customer}.md").write_text(text)
    told = describe(folder, "billing")
    assert "  customers' own   = 2 files; no customer C9; nothing is read of C1\n" in told
    (folder / "terms" / "C1.md").write_text("Early-payment discount: 3% if paid within 5 days.")
    assert "  customers' own   = 2 files; no customer C9\n" in describe(folder, "billing")


def test_rules_for_tickets_and_documents_of_the_sample_are_told(tmp_path):
    write_dataset(generate_support(20, 0), tmp_path)
    whole = describe(tmp_path, "support")
    assert "refund window    = 30 days\n" in whole and "of the sample" not in whole
    own = "The Refund window is 14 days. Refunds above £50 need a person. No receipt is wanted."
    policy = tmp_path / "policies" / "refunds.md"
    policy.write_text(own, encoding="utf-8")
    (tmp_path / "policies" / "general.md").unlink()
    told = describe(tmp_path, "support").split("rules of ")[1]
    assert told.startswith("policies/refunds.md:\n  refund window    = 14 days\n")
    assert "  approval         = refunds above 50.00\n" in told and "assumed" not in told
    assert "  in any case      = refunds need a receipt" in told
    assert "  of the sample    = policies/general: write" in told
    policy.write_text("Two weeks.")
    assert describe(tmp_path, "support").count("(assumed: no line reads like ") == 2
    policy.unlink()
    assert "rules assumed, for there is no policies/refunds.md:" in describe(tmp_path, "support")


def test_what_is_missing_is_told_with_everything_else(folder):
    (folder / "columns.toml").unlink()
    told = describe(folder, "billing")
    assert "currency         = MISSING" in told and "To be mended first:\nBank.csv row 1" in told


def test_a_currency_in_a_header_is_told_and_a_picked_column_comes_before_it(folder):
    bank = FILES["Bank.csv"].replace("Betrag", "Betrag (EUR)")
    (folder / "Bank.csv").write_text(bank)
    (folder / "columns.toml").unlink()
    assert "currency         = always 'EUR', as the amounts say" in describe(folder, "billing")
    picker(folder, "billing").dropdowns["payments", "currency"].value = "Umsatz-ID"
    assert "'P1' is not an ISO 4217" in describe(folder, "billing")


def test_a_file_that_cannot_be_read_hides_nothing_else(folder):
    (folder / "Bank.csv").rename(folder / "Bank.xlsx")
    told = describe(folder, "billing")
    assert "invoice_id       = Rechnungs-Nr." in told and "payments: cannot be read" in told
    assert "To be mended first:\nBank.xlsx: is not an Excel workbook" in told


def test_a_column_that_is_picked_is_read_from_then_on(folder):
    widget = picker(folder, "billing")
    widget.dropdowns["invoices", "amount"].value = "Brutto"
    assert "labelled" in widget.readout.value or "doubtful" in widget.readout.value
    assert str(read_billing(folder).invoices["amount"][0]) == "1100.00"
    assert look(folder, "billing")[0].mapping.columns["amount"] == "Brutto"
    assert "1 of 2 tasks labelled" in describe(folder, "billing")
    widget.dropdowns["invoices", "amount"].value = ""
    assert "amount" in describe(folder, "billing").split("To be mended first")[1]


def test_what_can_be_read_in_two_ways_is_settled_in_the_widget(folder):
    bank = FILES["Bank.csv"].replace("13.06.2026", "03/04/2026").replace("14.06.2026", "03/05/2026")
    (folder / "Bank.csv").write_text(bank)
    assert "can be 2026-04-03 or 2026-03-04" in describe(folder, "billing")
    picker(folder, "billing").dropdowns["payments", "dates"].value = "month-first"
    assert str(read_billing(folder).payments["received_on"][0]) == "2026-03-04"


def test_the_command_tells_the_same(folder):
    done = CliRunner().invoke(app, ["columns", str(folder), "billing"])
    assert done.exit_code == 1 and done.output.strip() == describe(folder, "billing")
    assert "To be mended first:\nno task of " in done.output
    bank = FILES["Bank.csv"].replace("1.100,00", "9,00")
    (folder / "Bank.csv").write_text(bank)
    done = CliRunner().invoke(app, ["columns", str(folder), "billing"])
    assert done.exit_code == 0 and done.output.strip() == describe(folder, "billing")
    for arguments in (["columns", str(folder), "biling"], ["columns", "nowhere", "billing"]):
        failed = CliRunner().invoke(app, arguments)
        assert failed.exit_code == 2 and failed.output.startswith("coordkit: ")


@pytest.mark.parametrize("name", ["billing", "support"])
def test_the_columns_sent_are_those_of_the_prompts_and_never_a_label(name):
    sent = columns_sent(load_case(name, tasks=3))
    labels = {"billing": BILLING_LABELS, "support": ("intents", "refund_amount", "invoice_line")}
    columns = {
        column for source, names in sent.items() if source != "documents" for column in names
    }
    assert not columns & set(labels[name]) and {"amount", "currency"} <= columns
    assert ("message" in sent["task"]) == (name == "support")
    assert any(source.startswith(("terms/", "policies/")) for source in sent["documents"])


def test_labels_that_are_wrong_are_to_be_mended_first(folder):
    """The ladder would stop at them, so the command must not end well."""
    (folder / "labels.csv").write_text("payment_id,kind,settles_invoice\nP9,unmatched,\n")
    told = describe(folder, "billing")
    assert "To be mended first:\nlabels.csv row 2, column payment_id: 'P9' is not among" in told
    done = CliRunner().invoke(app, ["columns", str(folder), "billing"])
    assert done.exit_code == 1 and done.output.strip() == told


def test_a_run_says_how_many_tasks_are_left_out(folder, tmp_path):
    widget = picker(folder, "billing")
    widget.dropdowns["invoices", "amount"].value = "Brutto"
    command = ["run", "billing", "--data", str(folder), "--processes", "1", "--tasks", "5"]
    done = CliRunner().invoke(app, [*command, "--runs", str(tmp_path / "runs")])
    assert done.exit_code == 0 and "1 tasks have no labels and are left out" in done.output
    assert "there are 1 tasks, not 5" in done.output


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "my_case.py"
    sys.modules.pop("my_case", None)
    experiment._load.cache_clear()  # the next test's module is another file
    get_reusable_executor().shutdown(wait=True)  # its workers have imported my_case, too


def test_a_case_of_ones_own_runs_in_worker_processes_and_on_the_command_line(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.write_text(CASE.format(steps=2))
    settings = Settings("my_case:Mine")
    assert load_case("my_case:Mine", tasks=7).name == "mine"
    stacks = [Stack()]
    alone, folder = run(settings, stacks, tmp_path / "one", processes=1)
    many, _ = run(settings, stacks, tmp_path / "two", processes=2)
    pd.testing.assert_frame_equal(alone, many)
    assert ":" not in folder.name and len(alone) == 120
    monkeypatch.chdir(tmp_path)
    command = ["run", "my_case:Mine", "--tasks", "5", "--processes", "1", "--runs", "three"]
    assert CliRunner().invoke(app, command).exit_code == 0


def test_a_case_that_was_edited_is_another_experiment(module: Path) -> None:
    module.write_text(CASE.format(steps=2))
    before = Settings("my_case:Mine")
    assert len(load_case("my_case:Mine").steps) == 2
    module.write_text(CASE.format(steps=3))
    assert Settings("my_case:Mine").key() != before.key()
    assert len(load_case("my_case:Mine").steps) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("billling", "unknown case 'billling'; choose from billing, support, or name your own"),
        ("no_such_module:Mine", "'no_such_module'; go to the folder of no_such_module.py"),
        ("my_case:Yours", "my_case.py has no Yours; it has Mine"),
        ("my_case:nothing", "is a int, not a Case"),
        ("os:getcwd", "getcwd must be callable with one argument, the data folder: too many"),
        (":x", "cannot be imported"),
    ],
)
def test_a_case_that_is_not_there_is_one_clear_line(module: Path, name: str, message: str) -> None:
    module.write_text(CASE.format(steps=2))
    with pytest.raises(UnknownCase, match=message):
        load_case(name)
    failed = CliRunner().invoke(app, ["ladder", name, "--tasks", "2"])
    assert failed.exit_code == 2 and failed.output.startswith("coordkit: ")


def test_a_skill_that_was_forgotten_is_told_before_anything_is_done(
    module: Path, tmp_path: Path
) -> None:
    lacking = "    def skills(self):\n        return dict([*super().skills().items()][1:])\n"
    module.write_text(CASE.format(steps=2).replace("def nothing", f"{lacking}\ndef nothing"))
    runs = tmp_path / "runs"
    failed = CliRunner().invoke(app, ["ladder", "my_case:Mine", "--runs", str(runs)])
    assert failed.exit_code == 2 and failed.output.count("\n") == 1
    assert failed.output.startswith("coordkit: case mine: its skills() have none for ")
    assert not runs.exists()


LATER = """    def checks(self):
        first = dict(self.tasks[0].fields)
        return {self.steps[0].name: [lambda answer, seen: [] if seen.task == first else 1 / 0]}
"""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_error_in_a_case_of_ones_own_is_one_line_that_says_where(
    module: Path, tmp_path: Path, processes: str
) -> None:
    module.write_text(CASE.format(steps=2).replace("\ndef nothing", f"{LATER}\ndef nothing"))
    command = ["run", "my_case:Mine", "--processes", processes, "--runs", str(tmp_path / "runs")]
    failed = CliRunner().invoke(app, command)
    assert failed.exit_code == 2 and failed.output.count("\n") == 1
    place = "ZeroDivisionError: division by zero (my_case.py line 11, in <lambda>)"
    assert place in failed.output
    assert failed.output.startswith("coordkit: case 'my_case:Mine', task code-00")
    failed = CliRunner().invoke(app, ["trace", "my_case:Mine", "code-00001"])
    assert failed.exit_code == 2 and place in failed.output


def test_what_a_file_raises_when_it_is_read_is_told_with_its_line(module: Path) -> None:
    module.write_text(CASE.format(steps=2) + "\nlater()\n")
    with pytest.raises(UnknownCase, match=r"'later' is not defined \(my_case.py line 13, in <mod"):
        load_case("my_case:Mine")
    module.write_text(CASE.format(steps=2) + "\ndef bad(directory):\n    return 1 / 0\n")
    with pytest.raises(CaseFailed, match=r"division by zero \(my_case.py line 14, in bad\)"):
        load_case("my_case:bad")


def test_an_error_of_the_kits_own_cases_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), blaming("billing"):
        raise ZeroDivisionError
