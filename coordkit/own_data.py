"""One's own data folder: what was found in it, in words, and a widget to correct the mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coordkit.cases import billing, support
from coordkit.cases.base import Case, read_limit
from coordkit.data.columns import WAYS, Columns, apply, find, read_said, unused, write_said
from coordkit.data.files import DataError, RawTable
from coordkit.data.generate_support import POLICIES
from coordkit.data.schemas import TABLES, Table, show
from coordkit.data.tables import DEFAULT_HOUSE, BillingTables, read_billing, read_support
from coordkit.ids import MOST
from coordkit.labelling import Labelled, Tables, label, task_table

TO_MEND = "To be mended first:"
HOW = {",": "having a decimal comma"}
# What the labels by rule and the simulated model hold to, whatever a folder's documents say.
BILLING_RULES = "a customer's own terms come first; paid twice goes back; part payments stay short"
SUPPORT_RULES = (
    "refunds need a receipt; lost orders are refunded, those on the way or cancelled are not; a "
    "line charged twice is refunded once"
)


@dataclass(frozen=True)
class Found:
    """One table of a data folder.

    Attributes:
        table: what we look for.
        raw: its file; None if there is none.
        mapping: which of its columns are ours.
        told: what columns.toml says of it.
        unread: whether there is a file that cannot be read, or several.
    """

    table: Table
    raw: RawTable | None = None
    mapping: Columns = field(default_factory=Columns)
    told: Columns = field(default_factory=Columns)
    unread: bool = False


def look(directory: Path, case: str) -> list[Found]:
    """Find the tables of a case in a folder and guess whose column is which; reads nothing else.

    Args:
        directory: the folder.
        case: billing or support.
    Raises: DataError if there is no such folder, or columns.toml cannot be understood.
    """
    if not directory.is_dir():
        raise DataError([f"{directory}: there is no such directory; check the path"])
    said, found = read_said(directory), []
    for table in TABLES[case]:
        told = said.get(table.name, Columns())
        try:
            found.append(Found(table, *find(directory, table, told), told))
        except DataError:  # whoever reads the tables tells why
            found.append(Found(table, unread=True))
    return found


def describe(directory: Path, case: str) -> str:
    """Say what was found in a folder: the mapping, what is missing, and how many tasks have labels.

    Args:
        directory: the folder.
        case: billing or support.
    Returns: text for a person to confirm. What is wrong with the tables is part of it.
    Raises: DataError as `look` does.
    """
    parts = [_describe(found) for found in look(directory, case)]
    try:
        tables = read_billing(directory) if case == "billing" else read_support(directory)
    except DataError as error:
        return "\n\n".join([*parts, f"{TO_MEND}\n{error}"])
    parts += [*_unread_ids(tables), _describe_rules(tables, directory)]
    return "\n\n".join([*parts, _describe_labels(tables, directory)])


def _unread_ids(tables: Tables) -> list[str]:
    """A line on the ids that are not read in texts, if there are any."""
    if isinstance(tables, BillingTables):
        usual, ids = billing.USUAL_IDS, list(tables.invoices["invoice_id"])
    else:
        usual, ids = support.USUAL_IDS, list(tables.orders["order_id"])
    if not (unread := usual.of(ids).unread(ids)):
        return []
    some = f"{len(unread):,} of {len(ids):,} ids, such as {show(unread[0])}"
    why = f"they are of none of the {MOST} commonest forms, or of one that cannot be told"
    return [f"{some}, are not read where a text names them: {why}"]


def _describe(found: Found) -> str:
    table, raw = found.table, found.raw
    if found.unread:
        return f"{table.name}: cannot be read"
    if raw is None:
        return f"{table.name}: none{', and it is needed' if table.required else ' (optional)'}"
    mapped = apply(found.mapping, raw, table, found.told)
    left_out = f"{mapped.left_out:,} payments made are left out" if mapped.left_out else ""
    note = f" ({'; '.join(filter(None, (raw.note, left_out)))})" if raw.note or left_out else ""
    lines = [f"{table.name}: {raw.file}, {len(raw.rows):,} rows{note}"]
    for ours in table.columns:
        theirs = found.mapping.columns.get(ours, "")
        if ours in found.mapping.values:
            theirs = f"always {found.mapping.values[ours]!r}"
            theirs += "" if ours in found.told.values else ", as the amounts say"
        elif not theirs:
            theirs = "MISSING" if ours in mapped.unjudged else "(none)"
            theirs += "; the row's number" if ours in mapped.cells else ""
        how = mapped.read.get(ours, "")
        how = f", read as {HOW.get(how, how)}" if how not in ("", ".") else ""
        lines.append(f"  {ours:16} = {theirs}{how}")
    if left := unused(raw, found.mapping):
        lines.append(f"  not used: {', '.join(left)}")
    return "\n".join(lines)


def _describe_labels(tables: Tables, directory: Path) -> str:
    try:
        labelled: Labelled[Any] = label(tables, directory)
    except DataError as error:
        return f"{TO_MEND}\n{error}"
    if not labelled.left_out:
        return str(labelled)
    name, key, columns = task_table(tables)
    example = getattr(tables, name)[key].iloc[0]
    return (
        f"{labelled}: notebook 08 asks for their labels, or write labels.csv with the columns "
        f"{', '.join([key, *columns])}; the first {key} is {example}"
    )


def _describe_rules(tables: Tables, directory: Path) -> str:
    """The rules by which tasks are labelled and worked, each as read or as assumed."""
    if isinstance(tables, BillingTables):
        file, patterns, further = "terms/house", billing.RULE_LINES, BILLING_RULES
        rules, usual = _billing_rules(tables.documents[file]), DEFAULT_HOUSE
    else:
        file, patterns, further = "policies/refunds", support.RULE_LINES, SUPPORT_RULES
        rules, usual = _support_rules(tables.documents[file]), POLICIES["refunds"]
    ours = [name for name in tables.documents if not (directory / f"{name}.md").exists()]
    there = file not in ours
    lines = [f"rules of {file}.md:" if there else f"rules assumed, for there is no {file}.md:"]
    for name, rule in rules.items():
        said, example = (patterns[name].search(text) for text in (tables.documents[file], usual))
        words = f' (assumed: no line reads like "{example[0]} …")' if example else ""
        lines.append(f"  {name:16} = {rule}{words if there and not said else ''}")
    if isinstance(tables, BillingTables):
        lines += _customers_terms(tables)
    lines.append(f"  in any case      = {further}")
    if others := ", ".join(name for name in ours if name != file):
        lines.append(f"  of the sample    = {others}: write your own files of these names")
    return "\n".join(lines)


def _customers_terms(tables: BillingTables) -> list[str]:
    """A line on the customers' own terms, if there are any, with those that change nothing."""
    own = {name.removeprefix("terms/"): text for name, text in tables.documents.items()}
    del own["house"]
    unknown = own.keys() - {*tables.invoices["customer_id"], *tables.customers["customer_id"]}
    silent = [
        name
        for name, text in own.items()
        if name not in unknown and not any(p.search(text) for p in billing.RULE_LINES.values())
    ]
    told = [
        f"{what} {', '.join(sorted(names)[:5])}{' and others' if names[5:] else ''}"
        for what, names in (("no customer", [*unknown]), ("nothing is read of", silent))
        if names
    ]
    files = f"{len(own)} file{'s' * (len(own) > 1)}"
    return [f"  customers' own   = {'; '.join([files, *told])}"] if own else []


def _billing_rules(house: str) -> dict[str, str]:
    terms = billing.read_terms("", house)
    granted = f"{terms['discount']:f}% within {terms['days']} days of the invoice date"
    return {
        "discount": granted if terms["discount"] else "none",
        "bank charges": f"up to {terms['charges']:.2f}" if terms["charges"] else "none",
        "over-payments": "refunded" if terms["surplus"] == "refund" else "kept on account",
        "approval": f"refunds above {read_limit(house, billing.USUAL_LIMIT):.2f}",
    }


def _support_rules(policy: str) -> dict[str, str]:
    return {
        "refund window": f"{support.read_window(policy)} days",
        "approval": f"refunds above {read_limit(policy, support.USUAL_LIMIT):.2f}",
    }


def columns_sent(case: Case) -> dict[str, list[str]]:
    """Which columns of a case a model may be shown in prompts; never the labels.

    Args:
        case: any case.
    Returns: ``task`` and each kind of record -> its columns; ``documents`` -> their ids. With the
        simulated model they stay on this machine; with any other they go to its provider.
    """
    environment = case.environment()
    records = {kind: list(row) for kind in environment.keys for row in environment.rows(kind)[:1]}
    query = "SELECT source FROM texts ORDER BY rowid"
    sources = [str(row["source"]) for row in environment.connection.execute(query)]
    documents = [name for name in sources if name.partition("/")[0] not in environment.keys]
    environment.close()
    fields = list(case.tasks[0].fields) if case.tasks else []
    return {"task": fields, **records, "documents": documents}


def picker(directory: Path, case: str) -> Any:
    """A widget with a dropdown per column, and for how dates and amounts are read where in doubt.

    What is picked is written to columns.toml at once.

    Args:
        directory: the folder.
        case: billing or support.
    """
    from coordkit.widgets import ColumnPicker

    tables = {found.table.name: found for found in look(directory, case) if found.raw}
    guesses, choices = dict[str, dict[str, str]](), dict[str, dict[str, Sequence[str]]]()
    for name, found in tables.items():
        mapping, header = found.mapping, found.raw.header if found.raw else []
        guesses[name] = {ours: mapping.columns.get(ours, "") for ours in found.table.columns}
        guesses[name] |= {setting: getattr(mapping, setting) for setting in WAYS}
        choices[name] = {**dict.fromkeys(found.table.columns, header), **WAYS}

    def save(picked: dict[str, dict[str, str]]) -> str:
        said = {}
        for name, found in tables.items():
            ways: dict[str, Any] = {setting: picked[name].pop(setting) for setting in WAYS}
            values = {k: v for k, v in found.mapping.values.items() if not picked[name].get(k)}
            said[name] = replace(found.mapping, columns=picked[name], values=values, **ways)
        write_said(directory, said)
        return describe(directory, case).splitlines()[-1]

    return ColumnPicker(guesses, choices, save)
