"""coordkit.cases.own: what is wrong with a case of one's own is told in one line, and at once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor
from typer.testing import CliRunner

from coordkit import experiment
from coordkit.cases import UnknownCase, load_case
from coordkit.cli import app
from coordkit.experiment import Settings, rehearse, run
from coordkit.faults import Simulation
from coordkit.stack import Stack

CASE = '''
import pandas as pd
from coordkit.cases.base import Case, Step, StepAnswer, Task
from coordkit.simulated import Call
from my_rules import CAP

class LookUp(StepAnswer):
    amount: float

class Pay(StepAnswer):
    receipt: str
    amount: float

def look_up(prompt):
    if "get_receipt" in prompt.tools and not prompt.rounds:
        return [Call("get_receipt", {"receipt": prompt.task["receipt"]})]
    rows = prompt.rows("receipts")
    if not rows:
        prompt.guess("receipt")
    return {"amount": float(rows[0]["amount"]) if rows else 1.0, "sources": []}

def pay(prompt):
    (found,) = prompt.needed("look_up")
    amount = min(CAP, found.get("amount", 0.0))
    return {"receipt": prompt.task["receipt"], "amount": amount, "sources": []}

def check_amount(answer, evidence):
    return [] if answer["amount"] >= 0 else ["no such amount"]

class Mine(Case):
    name = "mine"
    steps = (
        Step("look_up", LookUp, "Look it up.", tools=("get_receipt",), reads_task=True),
        Step("pay", Pay, "Pay it.", needs=("look_up",), reads_task=True),
    )
    approval_limit = 500.0

    def __init__(self, directory=None):
        rows = [{"receipt": f"R-{i}", "amount": 5.0 + i} for i in range(6)]
        self.tables = {"receipts": pd.DataFrame(rows)}
        self.documents = {}
        self.tasks = [
            Task(f"T-{i}", {"receipt": row["receipt"]}, row["receipt"], row)
            for i, row in enumerate(rows)
        ]

    def tools(self, environment):
        def get_receipt(receipt: str) -> str:
            """A receipt by its id."""
            return environment.show("receipts", environment.rows("receipts", receipt=receipt))
        return {"get_receipt": get_receipt}

    def checks(self):
        return {"pay": [check_amount]}

    def skills(self):
        return {"LookUp": look_up, "Pay": pay}

    def actions(self, answer):
        return [("paid", answer["receipt"], round(100 * answer["amount"]), "")]
'''
RUN = ("run", "my_own:Mine", "--processes", "1")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rules.py").write_text("CAP = 1000.0\n")
    (tmp_path / "my_own.py").write_text(CASE)
    yield tmp_path / "my_own.py"
    for name in ("my_own", "my_rules"):
        sys.modules.pop(name, None)
    experiment._load.cache_clear()  # the next test's module is another file
    experiment._thread.__dict__.clear()
    get_reusable_executor().shutdown(wait=True)  # its workers have imported them, too


def test_a_case_with_ordinary_names_fails_at_nothing_at_reliability_1(module: Path) -> None:
    """Also where one prompt asks for the answer to look_up, whose schema is LookUp."""
    for layers in ("context", "context,execution,planning,state"):
        done = CliRunner().invoke(app, [*RUN, "--layers", layers, "--reliability", "1"])
        assert done.exit_code == 0 and " 0.0 %" in done.output, done.output


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ('"look_up", LookUp', '"look", LookUp', "step look has the schema LookUp; give both one"),
        ('needs=("look_up"', 'needs=("lookup"', "step pay needs lookup, which is no step before"),
        ('tools=("get_r', 'tools=("got_r', "has the tool got_receipt; tools() has get_receipt"),
        ("class Pay(StepAnswer)", "class Pay(Task)", "the schema of step pay is no StepAnswer"),
        ('Step("pay"', 'Step("look_up"', "two steps have the name look_up"),
        ('f"T-{i}"', '"T"', "two tasks have the id T"),
        ("in range(6)", "in range(0)", "it has no tasks"),
        ("self.documents =", "self.texts =", "it has no documents"),
        ("approval_limit = 500.0", "", "it has no approval_limit"),
        ("def actions", "def acts", "Can't instantiate abstract class Mine"),
        ('{"pay": [check_amount]}', "None", "checks() must return a dict, not None"),
        ('{"pay": [check', '{"pays": [check', "checks() has some for pays, and there is no such"),
        ("[check_amount]}", "check_amount}", "checks() must have a list of functions for pay"),
        ('"receipts": pd', '"actions": pd', "another name is needed for the table actions"),
        ('["receipt"], row)', '["receipt"], None)', "task T-0: its labels must be a dict"),
        ('{"receipt": row["receipt"]}', "{1: pd}", "task T-0: its fields must be what JSON can"),
        ('"amount": 5.0 + i}', '"sum": 5.0 + i}', "T-0: KeyError: 'amount' (my_own.py line "),
        (', "")]', ")]", "must return (account, reference, cents, note) rows, not ('paid',"),
        ('"R-{i}", "amount"', '"R-{i}", "cap": 1, "amount"', ""),
        ('{"LookUp": look_up, ', "{", "its skills() have none for LookUp"),
        ('"amount": float(', '"sum": float(', "at look_up, with no slip: the output does not fit"),
        ('{"receipt": prompt.task["receipt"]})]', "{})]", "look-up fails, error: get_receipt: rec"),
        ('["no such amount"]', "0", ""),
        ("(rows)\n        ]", "(rows)\n        ].__iter__()", "tasks must be a list"),
        ('Step("pay", Pay', 'Step("lookup", LookUp', "two steps have the name, but for _ and"),
        (
            "    def checks",
            "    def wrong(self, *_):\n        pass\n\n    def checks",
            "wrong() finds",
        ),
        ("return [] if", "return None if", "check_amount of pay must return a list of texts, not"),
        ("return [] if", 'return "" if', "check_amount of pay must return a list of texts, not"),
        (
            "(found,) =",
            "found =",
            "'list' object has no attribute 'get' (my_own.py line 24, in pay",
        ),
        ("return environment.show", "raise ConnectionError('down')\n            x", "slip: down"),
    ],
)
def test_what_is_wrong_with_a_case_is_one_line(
    module: Path, tmp_path: Path, ours: str, theirs: str, told: str
) -> None:
    assert CASE.count(ours) >= 1
    module.write_text(CASE.replace(ours, theirs))
    done = CliRunner().invoke(app, RUN)
    if not told:  # known-good
        assert done.exit_code == 0, done.output
        return
    assert done.exit_code == 2 and done.output.count("\n") == 1, done.output
    assert done.output.startswith("coordkit: case ") and told in done.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("my_own.py:Mine", "write my_own:Mine"),
        ("my_own:", "my_own.py has no factory without a name; it has Mine"),
        ("my_own:Main", "my_own.py has no Main; it has Mine"),
        ("mine.own:Mine", "No module named 'mine'; go to the folder of mine/own.py"),
    ],
)
def test_a_name_that_is_not_quite_right_is_told_a_better_one(
    module: Path, name: str, told: str
) -> None:
    with pytest.raises(UnknownCase) as error:
        load_case(name)
    assert told in str(error.value)


def test_a_label_that_grades_its_own_reference_wrong_is_told(module: Path) -> None:
    wrong = '    def wrong(self, task, actions):\n        return "unpaid"\n\n    def checks'
    module.write_text(CASE.replace("    def checks", wrong))
    with pytest.raises(UnknownCase, match="task T-0: what its own labels ask for is graded 'unpa"):
        load_case("my_own:Mine")


def key() -> str:
    return Settings("my_own:Mine").key()


def test_what_a_case_holds_and_the_code_beside_it_make_another_experiment(module: Path) -> None:
    """Known-bad: results of before the change were taken for results after it."""
    rehearse(Settings("my_own:Mine"))
    rows, text = "        rows = [", "open('limit.txt').read()"
    for ours, theirs in (
        ("range(6)", "range(int(open('size.txt').read()))"),
        ("self.documents = {}", "self.documents = {'rules/a': open('rules.txt').read()}"),
        (rows, f"        self.approval_limit = float({text})\n{rows}"),
        (
            "row)\n            for",
            "{**row, 'tags': set(open('tags.txt').read())})\n            for",
        ),
    ):
        assert ours in module.read_text()
        module.write_text(module.read_text().replace(ours, theirs))
    files = {"size.txt": "6", "rules.txt": "a", "limit.txt": "500", "tags.txt": "abcdef"}
    for name, held in files.items():
        (module.parent / name).write_text(held)
    keys = [key()]
    command = [
        sys.executable,
        "-c",
        "import coordkit.experiment as e; print(e.Settings('my_own:Mine').key())",
    ]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=module.parent)
    assert other.stdout.strip() == keys[0], "an unchanged case is the same in another process"
    edits = {
        "size.txt": "7",
        "rules.txt": "b",
        "limit.txt": "9",
        "tags.txt": "ab",
        "my_rules.py": "CAP = 2.0",
    }
    for name, held in edits.items():
        (module.parent / name).write_text(held)
        keys.append(key())
    assert len(set(keys)) == len(keys) == 6


@pytest.mark.parametrize("processes", [1, 2])
def test_an_edit_of_a_module_beside_it_is_felt(module: Path, processes: int) -> None:
    """In the same process, as in a notebook: neither old code nor an old result is used."""

    def failed() -> int:
        settings = Settings("my_own:Mine", simulation=Simulation(1.0))
        return int(run(settings, [Stack.rung(4)], Path("runs"), processes)[0]["failed"].sum())

    assert failed() == 0
    (module.parent / "my_rules.py").write_text("CAP = 2.0\n")
    assert failed() == 6


def test_lines_that_come_again_are_repeated_and_known(module: Path) -> None:
    end = "            for i, row in enumerate(rows)\n        ]\n"
    again = "        self.tasks.append(Task('T-9', {'receipt': 'R-0'}, 'R-0', rows[0], True))\n"
    module.write_text(CASE.replace(end, end + again))
    rehearse(Settings("my_own:Mine"))
    settings = Settings("my_own:Mine", simulation=Simulation(1.0))
    table, _ = run(settings, [Stack.rung(3), Stack.rung(4)], Path("runs"), 1)
    causes = table[table["failed"]][["stack", "task", "cause"]].to_numpy().tolist()
    assert causes == [[Stack.rung(3).label, "T-9", "done twice"]]
    rehearse(Settings("my_own:Mine", tasks=1))  # there is nothing to rehearse


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("return [] if", "return () if"),
        ("return [] if", "assert evidence.seen\n    return [] if"),
        ("        return [(", "        yield from [("),
        ('"pay": [check_amount]', '"pay": {check_amount}'),
    ],
)
def test_what_works_is_not_refused(module: Path, ours: str, theirs: str) -> None:
    assert ours in CASE
    module.write_text(CASE.replace(ours, theirs).replace('{"pay": [check', '{"look_up": [check'))
    rehearse(Settings("my_own:Mine"))


def test_a_factory_may_be_wrapped_in_one_that_supplies_an_argument(module: Path) -> None:
    wrapped = """
from functools import wraps

def make(directory, size):
    return Mine(directory)

@wraps(make)
def supplied(directory):
    return make(directory, 6)
"""
    module.write_text(CASE + wrapped)
    assert load_case("my_own:supplied").name == "mine"


def test_a_first_task_that_nobody_can_do_is_no_reason_to_refuse(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = '    rows = prompt.rows("receipts")\n'
    unfit = '    if prompt.task["receipt"] == "R-0":\n        return {}\n'
    module.write_text(CASE.replace(rows, rows + unfit))
    rehearse(Settings("my_own:Mine"))
    monkeypatch.setattr(experiment, "REHEARSED", 1)  # known-bad
    with pytest.raises(UnknownCase, match="task T-0: at look_up, with no slip"):
        rehearse(Settings("my_own:Mine"))
