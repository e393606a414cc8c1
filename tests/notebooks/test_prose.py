"""Figures that README and notebooks repeat in words stand in an output of the notebook they name.

The outputs themselves are compared with a fresh run by nbval.
"""

import json
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from coordkit.cases import load_case
from coordkit.experiment import Settings, failure_of, make_bench
from coordkit.faults import Simulation
from coordkit.stack import Stack

ROOT = Path(__file__).parents[2]

# Where it is said, what is said, the notebook that measures it, what its output must show.
SAID = [
    ("README.md", "fail 15.3 % of billing and 30.3 % of support tasks", "03_execution",
     r"billing +20\.3 +12\.3 +15\.3\nsupport +45\.7 +31\.7 +30\.3"),
    ("README.md", "specialists: 12.3 % and 31.7 %", "03_execution",
     r"billing +20\.3 +12\.3 .*\nsupport +45\.7 +31\.7 "),
    ("02_planning", "4.7 calls more in billing, which has four steps, and 6.6 more in support",
     "02_planning", r"billing without +10\.90 .*\n +with +6\.20 .*\n"
     r" +ratio .*\nsupport without +14\.60 .*\n +with +8\.00 "),
    ("03_execution", "one billing payment in five and nearly every second", "03_execution",
     r"billing +20\.3 .*\nsupport +45\.7 "),
    ("04_state", "one billing payment in eight and one ticket in three", "04_state",
     r"billing added on the ladder +12\.3 [\s\S]*support added on the ladder +31\.7 "),
    ("05_verification", "two of the three intervals still contain", "05_verification",
     r"0\.00 0 +0\.8\d\d +0\.7[\s\S]*\n0\.32 0 +0\.8.. +0\.80[1-9][\s\S]*\n0\.76 0 +0\.8.. +0\.7"),
    ("07_the_whole_stack", "57 % in billing and 35 % in support were not shipped",
     "07_the_whole_stack", r"not_shipped +0\.57 +0\.35"),
    ("07_the_whole_stack", "Of the 23 tickets that fail, 11 are misread", "07_the_whole_stack",
     r"misread +11\nignored_instruction +6\nunapproved +3\nwrong_.* +2\ntransposed_digits +1\n"),
    ("07_the_whole_stack", "7 of the 9 and 9 of the 14 tasks seen had failed", "07_the_whole_stack",
     r"billing: 9 seen, 7 had failed.*\nsupport: 14 seen, 9 had failed"),
    ("07_the_whole_stack", "14 of its failures nobody saw", "07_the_whole_stack",
     r"support: .* not seen and failed: 14\n"),
    ("05_verification", "far fewer silent failures and a few more loud ones", "05_verification",
     r"billing without +25 +2\n +with +7 +7\nsupport without +67 +8\n +with +34 +10"),
    ("07_the_whole_stack", "verification changes little in billing and harms support",
     "07_the_whole_stack", r"0 +False +False +-0\.6 +9\.8\n"),
    ("07_the_whole_stack", "69 times as dear", "07_the_whole_stack", r"ratio .* 69\.3\d+ "),
    ("08_your_data", "18 of 20 at rung 5", "08_your_data",
     r"crashed +2 +2 +0 +0 +0\nheld +0 +0 +0 +2 +0\nrejected .*\nunapproved .* 18 +0\n"),
    ("08_your_data", "(77, then 10, 6, 0)", "08_your_data",
     r"rejected +0 +0 +0 +0 +4\n.*\nwrong outcome +77 +10 +6 +0 +0"),
    ("09_your_model", "27 and 46 tasks cannot tell 8 from 17 %", "09_your_model",
     r"steps of 27 tasks\n[\s\S]*\n46 tasks\n[\s\S]*\n1 +8\.3 .* 17\.4 "),
    ("09_your_model", "The interval excludes zero and p is above 0.05", "09_your_model",
     r"\(-22\.8 to -1\.1\), p = 0\.062"),
]  # fmt: skip


def notebook(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def prose(name: str) -> str:
    if name == "README.md":
        return (ROOT / name).read_text(encoding="utf-8")
    return "\n".join(c.source for c in notebook(name).cells if c.cell_type == "markdown")


def shown(name: str) -> str:
    outputs = [o for c in notebook(name).cells for o in c.get("outputs", [])]
    return "\n".join(str(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in outputs)


@pytest.mark.parametrize(("where", "said", "measured_in", "pattern"), SAID)
def test_what_is_said_in_words_was_measured(where, said, measured_in, pattern) -> None:
    assert said in " ".join(prose(where).split())
    assert re.search(pattern, shown(measured_in))


def test_state_pays_in_a_checked_stack_where_notebook_04_says_so() -> None:
    told = "By 2,000 (README) it is in billing, where every line delivered twice counts; in support"
    assert told in " ".join(prose("04_state").split())
    results = json.loads((ROOT / "data" / "results.json").read_text(encoding="utf-8"))
    billing, support = (
        {entry["rung"]: entry for entry in results[case]["0"]["rungs"]}[4]["knockout_p_value"]
        for case in ("billing", "support")
    )
    assert billing < 0.05 <= support


def printed(head: str, row: str) -> list[list[str]]:
    """Of the table in notebook 07 whose head holds a text: what a pattern finds in its rows."""
    table = shown("07_the_whole_stack").partition(head)[2].split("\n\n")[0]
    return [list(found.groups()) for found in re.finditer(rf"{row}$", table, re.MULTILINE)]


def test_notebook_07_says_which_neighbours_on_the_frontier_are_told_apart() -> None:
    told = " ".join(prose("07_the_whole_stack").split())
    assert "Billing's neighbours all overlap, and yet three of the four pairs are told" in told
    assert "of support's last pair, with the person, 200 tasks cannot tell" in told
    rows = printed("own overlap", r"(billing|support) .* (True|False) +(True|False)")
    billing, support = ([r[1:] for r in rows if r[0] == case] for case in ("billing", "support"))
    assert [overlap for overlap, _ in billing] == ["True"] * 4
    assert sorted(apart for _, apart in billing) == ["False"] + ["True"] * 3
    assert support[-1] == ["True", "False"]


def test_notebook_07_says_where_formula_and_measurement_part() -> None:
    told = " ".join(prose("07_the_whole_stack").split())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    number = r" +(\d+\.\d)"
    rows = printed("every slip fails", rf"(\d) [a-z]+{number * 5}")
    rungs = [[float(x) for x in row] for row in rows]  # rung, rate, low, high, both lines
    billing, support = rungs[:7], rungs[7:14]
    above = [(case, row[0]) for case in (billing, support) for row in case if row[5] >= row[1]]
    assert above == [(billing, 6)], "below the measurement everywhere but at billing's rung 6"
    assert "A person takes off 4.0 points in billing and 4.7 in support, the formula's" in told
    assert re.search(r"6 human .* -4\.0 [\s\S]*6 human .* -4\.7 ", shown("07_the_whole_stack"))
    off = [f"{five[4] - six[4]:.1f}" for five, six in (billing[5:], support[5:])]
    assert f"the formula's person {off[0]} and {off[1]}" in told
    split = printed("no fault, failed", rf"(?:billing|support) +\d{number * 3}")
    (_, _, b0), (hit, bad, b1), (_, _, b3), _, (_, _, s0), (_, _, s1), (_, _, s3), last = split
    assert f"{b0} % of billing and {s0} % of support fail without any slip" in told
    assert f"context takes that to {b1} and {s1}" in told
    assert f"it says {rows[1][4]} % of billing; slips hit {hit} % of these tasks" in told
    assert f"and {bad} % failed with one" in told
    assert f"With the {b1} % that makes {rows[1][1]}, below the formula" in told
    assert "of the README's 2,000 tasks 21.7 % fail (interval to 23.6)" in told
    assert "| 1 + context | 21.7 (19.9 to 23.6) |" in readme
    assert f"({b3} and {s3} % fail without any fault)" in told
    assert f"it says {rows[12][4]} %, and {last[1]} % fail with a fault" in told
    assert f"another {last[2]} % fail without one" in told
    assert f"So billing measures {rows[6][1]} %, not {rows[6][4]} %" in told


def test_notebook_07_says_where_the_relay_lies_beside_its_line() -> None:
    told = " ".join(prose("07_the_whole_stack").split())
    assert "all six rates lie a little below the line, which each of their intervals holds" in told
    assert "fails more than the line from four steps on" in told
    assert "from six on its interval leaves the line out" in told
    table = printed("layers all six", r"^(\d)" + r" +(\d+\.\d)" * 7)
    rows = [[float(x) for x in row] for row in table]
    assert [row[0] for row in rows] == [1, 2, 3, 4, 6, 8]
    assert all(low <= rate < line <= high for _, high, low, rate, *_, line in rows)  # all six
    assert [n for n, *_, rate, line in rows if rate > line] == [4, 6, 8]
    assert [n for n, *_, low, _, line in rows if low > line] == [6, 8]
    assert "there the six layers take off 38.0 points (first table), here 8.0" in told
    text = shown("07_the_whole_stack")
    assert re.search(r"billing  failure by rung, %: 40\.0 .* 2\.0\n", text)
    assert "4 steps: -8.0 points" in text


TOLD = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))] + ["README.md"]


@pytest.mark.parametrize("where", TOLD)
def test_what_the_prose_points_to_is_there(where: str) -> None:
    text = " ".join(prose(where).split())
    for path in re.findall(r"`((?:coordkit|tests|data|notebooks)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
    for name, module in re.findall(r"`(\w+)` in `(coordkit/[\w/]+)\.py`", text):
        assert hasattr(import_module(module.replace("/", ".")), name), name
    for dotted in re.findall(r"`(coordkit(?:\.\w+)+)`", text):
        assert find(dotted), dotted


def find(dotted: str) -> bool:
    """Whether there is a module, or something in a module, of this name."""
    module, _, name = dotted.rpartition(".")
    return hasattr(import_module(module), name) or find_spec(dotted) is not None


def test_the_samples_that_notebook_09_takes_share_the_tasks_it_says() -> None:
    told = " ".join(prose("09_your_model").split())
    assert "these 30 are mostly others than the 40 above" in told
    assert "80 tasks contain these 40, 60 tasks only 20 of them" in told
    forty = sampled(40)
    assert [len(forty & sampled(tasks)) for tasks in (30, 80, 60)] == [10, 40, 20]


def sampled(tasks: int) -> set[str]:
    return {task.id for task in load_case("billing", tasks=tasks).tasks}


def test_what_the_checks_hold_in_support_without_context_is_what_nobody_looked_up() -> None:
    assert "an answer states an order's total and receipt that nobody looked up" in " ".join(
        prose("07_the_whole_stack").split()
    )
    settings = Settings("support", tasks=60, simulation=Simulation(1.0))
    unchecked, checked = (make_bench(settings, s) for s in (Stack(), Stack.of("verification")))
    lucky = [t for t in unchecked.at.case.tasks if not failure_of(unchecked, t, unchecked.run(t))]
    held = [state for state in map(checked.run, lucky) if state["status"] == "held"]
    assert len(held) >= 5
    for state in held:
        assert "order: total of " in state["problem"] and "receipt" in state["problem"]
