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
    ("07_the_whole_stack", "57 % in billing, 35 % in support", "07_the_whole_stack",
     r"harmless +0\.57 +0\.35"),
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
