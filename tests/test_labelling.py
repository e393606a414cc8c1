"""Exact rules decide only where there is no doubt; what a person says is kept at once."""

import dataclasses

import pytest

from coordkit.cases import load_case
from coordkit.data import DataError, generate_support, read_billing, read_support, write_dataset
from coordkit.data.sample import SAMPLES
from coordkit.data.tables import read_labels
from coordkit.labelling import (
    DOUBTFUL,
    RULE,
    doubtful_tasks,
    label,
    labeller,
    propose,
    save_label,
    task_table,
)

INVOICES = """invoice_id,customer_id,customer_name,issued_on,due_on,amount,currency,paid_on
INV-1001,C1,Ada Foods Ltd,2026-06-01,2026-07-01,100.00,EUR,
INV-1002,C2,Max Freight,2026-06-02,2026-07-02,50.50,EUR,
INV-1003,C2,Max Freight,2026-06-02,2026-07-02,70.00,EUR,2026-06-05
INV-1004,C1,Ada Foods Ltd,2026-06-01,2026-07-01,30.00,EUR,
"""
PAYMENTS = """payment_id,received_on,payer_name,amount,currency,remittance_text
P1,2026-06-13,ADA FOODS,100.00,EUR,pays inv-1001 thank you
P1,2026-06-14,ADA FOODS,100.00,EUR,pays inv-1001 thank you
P2,2026-06-14,Max Freight,50.50,EUR,TRANSFER
P3,2026-06-15,Max Freight,70.00,EUR,INV-1003
P4,2026-06-15,Somebody Else,30.00,EUR,INV-1004
"""
SKONTO = {"amount": "49.49", "text": "INV-1002 abzgl. 2% Skonto"}


@pytest.fixture
def folder(tmp_path):
    write_dataset({"invoices.csv": INVOICES, "payments.csv": PAYMENTS}, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "kind", "settles", "doubtful"),
    [
        ({}, "exact", "INV-1002", False),
        ({"amount": "49.49", "text": "INV-1002 LESS 2% DISC"}, "early_discount", "INV-1002", False),
        ({"text": "(INV-1002)."}, "exact", "INV-1002", False),
        ({"amount": "49.48"}, "short_payment", "INV-1002", True),
        ({"amount": "60.00"}, "over_payment", "INV-1002", True),
        ({"received": "2026-07-02"} | SKONTO, "early_discount", "INV-1002", False),
        ({"received": "2026-07-03"} | SKONTO, "short_payment", "INV-1002", True),
        ({"received": "2026-08-30"} | SKONTO, "short_payment", "INV-1002", True),
        ({"amount": "49.49"}, "early_discount", "INV-1002", True),
        (SKONTO | {"text": "INV-1002 OHNE SKONTO"}, "early_discount", "INV-1002", True),
        (SKONTO | {"text": "INV-1002 TEILZAHLUNG"}, "early_discount", "INV-1002", True),
        ({"text": "inv 1002"}, "unmatched", "", True),
        ({"text": "INV-10022"}, "unmatched", "", True),
        ({"text": "INV-1002 INV-1001"}, "batch", "INV-1002;INV-1001", True),
        ({"currency": "USD"}, "fx", "INV-1002", True),
        ({"payer": "Ada Foods"}, "exact", "INV-1002", True),
        ({"text": "INV-1003", "amount": "70.00"}, "duplicate", "INV-1003", True),
    ],
)
def test_a_rule_decides_only_where_everything_agrees(tmp_path, changes, kind, settles, doubtful):
    line = {"received": "2026-06-14", "payer": "Max Freight", "amount": "50.50", "currency": "EUR",
            "text": "INV-1002"} | changes  # fmt: skip
    header = PAYMENTS.splitlines()[0]
    files = {"invoices.csv": INVOICES, "payments.csv": f"{header}\nP9,{','.join(line.values())}\n"}
    write_dataset(files, tmp_path)
    (row,) = propose(read_billing(tmp_path)).to_dict("records")
    assert (row["kind"], row["settles_invoice"], row[DOUBTFUL]) == (kind, settles, doubtful)
    assert row[RULE]


@pytest.mark.parametrize(
    ("text", "settles"),
    [
        ("RE 5002 danke", "RE 5002"),
        ("re  5002", "RE 5002"),
        ("RE 5002", "RE 5002"),
        ("RE 50021", ""),
        ("RE-5002", ""),
        ("ARE 5002", ""),
        ("MIETE RE A 7", "RE A 7"),
        ("RE 5002 RE A 7", "RE 5002;RE A 7"),
    ],
)
def test_an_id_of_several_words_is_one(tmp_path, text, settles):
    invoices = INVOICES.replace("INV-1002", "RE 5002").replace("INV-1004", "RE A 7")
    header = PAYMENTS.splitlines()[0]
    line = f"P9,2026-06-14,Max Freight,50.50,EUR,{text}"
    files = {"invoices.csv": invoices, "payments.csv": f"{header}\n{line}\n"}
    write_dataset(files, tmp_path)
    (row,) = propose(read_billing(tmp_path)).to_dict("records")
    assert row["settles_invoice"] == settles
    assert row[DOUBTFUL] == (settles != "RE 5002")


def test_an_id_that_is_part_of_a_longer_one_is_not_named_by_it(tmp_path):
    invoices = INVOICES.replace("INV-1002", "RE 2026 07 0001").replace("INV-1004", "2026 07")
    header = PAYMENTS.splitlines()[0]
    texts = ("RE 2026 07 0001", "fuer 2026 07", "RE 2026 07 0001 2026 07")
    lines = [f"P{i},2026-06-14,Max Freight,50.50,EUR,{text}" for i, text in enumerate(texts)]
    files = {"invoices.csv": invoices, "payments.csv": "\n".join([header, *lines, ""])}
    write_dataset(files, tmp_path)
    settled = list(propose(read_billing(tmp_path))["settles_invoice"])
    assert settled == ["RE 2026 07 0001", "2026 07", "RE 2026 07 0001;2026 07"]


def test_two_payments_for_one_invoice_are_both_doubtful(folder):
    text = PAYMENTS + "P5,2026-06-16,Ada Foods,100.00,EUR,INV-1001\n"
    (folder / "payments.csv").write_text(text)
    proposed = propose(read_billing(folder))
    assert list(proposed.loc[[0, 5], DOUBTFUL]) == [True, True]
    assert proposed.loc[1, "kind"] == "redelivered"


def test_what_nobody_labelled_is_left_out_and_counted(folder):
    tables = read_billing(folder)
    done = label(tables, folder)
    assert (done.given, done.by_person, done.by_rule, done.left_out) == (0, 0, 2, 3)
    assert list(done.tables.payments["payment_id"]) == ["P1", "P1"]
    assert str(done).startswith("2 of 5 tasks labelled (0 in the table, 0 in labels.csv, 2 by ")
    assert str(done).endswith("; the others are left out")
    case = load_case("billing", folder)
    assert [task.id for task in case.tasks] == ["P1", "P1#2"]
    assert case.wrong(case.tasks[0], case.actions(case.reference(case.tasks[0]))) == ""


def test_a_redelivery_goes_with_its_first_and_is_left_out_where_that_is(folder):
    line = "P2,2026-06-14,Max Freight,50.50,EUR,TRANSFER\n"
    (folder / "payments.csv").write_text(PAYMENTS.replace(line, 2 * line))
    tables = read_billing(folder)
    assert list(propose(tables).loc[[2, 3], DOUBTFUL]) == [True, False]
    done = label(tables, folder)
    assert (done.by_rule, done.left_out) == (2, 4)
    assert list(done.tables.payments["payment_id"]) == ["P1", "P1"]


def test_what_a_person_says_is_kept_at_once_and_corrected_in_place(folder):
    tables = read_billing(folder)
    assert list(doubtful_tasks(tables, folder)["payment_id"]) == ["P2", "P3", "P4"]
    save_label(folder, tables, "P2", {"kind": "exact", "settles_invoice": "INV-1004"})
    save_label(folder, tables, "P3", {"kind": "duplicate", "settles_invoice": "INV-1003"})
    save_label(folder, tables, "P2", {"kind": "exact", "settles_invoice": "INV-1002"})
    assert list(doubtful_tasks(tables, folder)["payment_id"]) == ["P4"]
    done = label(tables, folder)
    assert (done.by_person, done.by_rule, done.left_out) == (2, 2, 1)
    payments = done.tables.payments.set_index("payment_id")
    assert payments.loc["P2", "settles_invoice"] == "INV-1002"
    assert len((folder / "labels.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("P2", {"kind": "exakt", "settles_invoice": "INV-1002"}, "'exakt' is unknown"),
        ("P2", {"kind": "exact", "settles_invoice": "INV-9"}, "'INV-9' is not among the invoices"),
        ("P2", {"kind": "exact", "settles_invoice": ""}, "blank goes with the kind unmatched"),
        ("P99", {"kind": "unmatched"}, "'P99' is not among the payments"),
    ],
)
def test_a_label_that_cannot_be_right_is_not_kept(folder, task, labels, message):
    tables = read_billing(folder)
    save_label(folder, tables, "P3", {"kind": "duplicate", "settles_invoice": "INV-1003"})
    before = (folder / "labels.csv").read_bytes()
    with pytest.raises(DataError, match=message):
        save_label(folder, tables, task, labels)
    assert (folder / "labels.csv").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [
        "invoices.csv", "labels.csv", "payments.csv"
    ]  # fmt: skip


def test_tables_where_no_rule_decides_say_so(tmp_path):
    header = PAYMENTS.splitlines()[0]
    line = "P2,2026-06-14,Max Freight,50.50,EUR,TRANSFER"
    write_dataset({"invoices.csv": INVOICES, "payments.csv": f"{header}\n{line}\n"}, tmp_path)
    with pytest.raises(DataError, match="no exact rule decides one; label some first"):
        load_case("billing", tmp_path)


def unlabelled(tables):
    """Tables without their labels, and what they were."""
    name, _, columns = task_table(tables)
    tasks = getattr(tables, name).head(600)
    blank = tasks.assign(**dict.fromkeys(columns, ""))
    return dataclasses.replace(tables, **{name: blank}), tasks[list(columns)]


@pytest.mark.parametrize(
    ("name", "reader", "least"), [("billing", read_billing, 280), ("support", read_support, 20)]
)
def test_what_the_rules_decide_on_the_sample_is_what_its_author_says(name, reader, least):
    tables, truth = unlabelled(reader(SAMPLES / name))
    proposed = propose(tables)
    sure = proposed[~proposed[DOUBTFUL] & (proposed.iloc[:, 0] != "redelivered")]
    same = (sure[list(truth)] == truth.loc[sure.index]).all(axis=1)
    assert len(sure) >= least and same.mean() >= 0.99
    doubtful = proposed[proposed[DOUBTFUL]]
    guessed = (doubtful[list(truth)] == truth.loc[doubtful.index]).all(axis=1)
    assert guessed.mean() < 0.7, "what is called doubtful is"


def test_a_strangers_order_stays_doubtful():
    tables, _ = unlabelled(read_support(SAMPLES / "support"))
    (ticket,) = tables.tickets[tables.tickets["ticket_id"] == "TKT-000005"].index
    assert not propose(tables).loc[ticket, DOUBTFUL]
    tables.tickets.loc[ticket, "customer_id"] = "C-0001"
    row = propose(tables).loc[ticket]
    assert row[DOUBTFUL] and row[RULE] == "the order is not this customer's"
    assert row["order_id"] == "" and row["intents"] == "cancellation"


def test_under_a_refund_policy_of_its_own_words_refunds_are_doubtful():
    tables, _ = unlabelled(read_support(SAMPLES / "support"))
    policy = tables.documents["policies/refunds"]

    def decided(policy):
        tables.documents["policies/refunds"] = policy
        proposed = propose(tables)
        return proposed[~proposed[DOUBTFUL]]["intents"].str.contains("refund")

    usual = decided(policy)
    assert usual.any() and decided(policy.replace("30 days", "14 days")).equals(usual)
    own = decided(policy.replace("A receipt is required.", "No receipt is required."))
    assert not own.any() and len(own) == (~usual).sum()


def test_support_tickets_are_labelled_by_the_same_way(tmp_path):
    files = generate_support(60, 0)
    rows = [line.split(",intents")[0] for line in files["tickets.csv"].splitlines()[:1]]
    write_dataset(files, tmp_path)
    tables, truth = unlabelled(read_support(tmp_path))
    columns = rows[0].split(",")
    tables.tickets[columns].to_csv(tmp_path / "tickets.csv", index=False)
    tables = read_support(tmp_path)
    first = str(tables.tickets["ticket_id"][0])
    labels = {name: str(value) for name, value in truth.loc[0].items()}
    save_label(tmp_path, tables, first, labels)
    case = load_case("support", tmp_path)
    task = next(task for task in case.tasks if task.id == first)
    assert task.labels["intents"] == labels["intents"].split(";")
    assert not any(case.wrong(t, case.actions(case.reference(t))) for t in case.tasks)


def test_a_labels_file_may_lack_the_order_and_the_line_but_not_the_refund(tmp_path):
    write_dataset(generate_support(60, 0), tmp_path)
    tables = read_support(tmp_path)
    first = str(tables.tickets["ticket_id"][0])
    (tmp_path / "labels.csv").write_text(
        f"ticket_id,intents,refund_amount\n{first},product_question,0.00\n"
    )
    (said,) = read_labels(tmp_path, tables).to_dict("records")
    assert said.pop("ticket_id") == first and said.pop("refund_amount") == 0
    assert said == {"intents": "product_question", "order_id": "", "invoice_line": ""}
    (tmp_path / "labels.csv").write_text(f"ticket_id,intents\n{first},product_question\n")
    with pytest.raises(DataError, match="row 1, column refund_amount: is missing"):
        read_labels(tmp_path, tables)


def test_the_widget_saves_shows_what_is_wrong_and_moves_on(folder):
    widget = labeller(read_billing(folder), folder)
    assert "P2" in widget.shown.value and "3 to go" in widget.readout.value
    widget.fields["kind"].value, widget.fields["settles_invoice"].value = "exact", "INV-9"
    widget.save_button.click()
    assert "Not saved" in widget.readout.value and widget.place == 0
    widget.fields["settles_invoice"].value = "INV-1002"
    widget.save_button.click()
    assert "P2,exact,INV-1002" in (folder / "labels.csv").read_text()
    assert "P3" in widget.shown.value
    widget.skip_button.click()
    widget.skip_button.click()
    assert widget.save_button.disabled and "0 to go" in widget.readout.value


def test_a_message_cannot_pass_itself_off_as_markup(folder):
    text = PAYMENTS.replace("TRANSFER", "<script>x</script>")
    (folder / "payments.csv").write_text(text)
    assert "<script>" not in labeller(read_billing(folder), folder).shown.value


def test_a_message_that_names_two_orders_stays_doubtful():
    tables, _ = unlabelled(read_support(SAMPLES / "support"))
    (ticket,) = tables.tickets[tables.tickets["ticket_id"] == "TKT-000005"].index
    tables.tickets.loc[ticket, "message"] = "Not ORD-10001 but ORD-10002: please cancel it."
    row = propose(tables).loc[ticket]
    assert row[DOUBTFUL]
    two = "it gives several order numbers"
    own = tables.orders["order_id"].isin(["ORD-10001", "ORD-10002"])
    tables.orders.loc[own, "customer_id"] = tables.tickets.loc[ticket, "customer_id"]
    tables.tickets.loc[ticket, "message"] = "Cancel ORD-10001, cancel ORD-10002."
    assert propose(tables).loc[ticket, RULE] == two
