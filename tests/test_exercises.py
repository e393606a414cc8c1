from typing import Any

from coordkit.exercises import Exercise


def judge(double: Any) -> str:
    return "" if double(3) == 6 else f"double(3) should be 6, not {double(3)}"


DOUBLE = Exercise(
    name="double",
    question="Double a number.",
    starter="def double(x):\n    raise NotImplementedError",
    answer="def double(x):\n    return 2 * x",
    hints=("Twice.", "x + x"),
    judge=judge,
)


def test_the_three_verdicts() -> None:
    def starter(x: int) -> int:
        raise NotImplementedError

    assert repr(DOUBLE.check(lambda x: 2 * x)) == "Correct."
    assert repr(DOUBLE.check(lambda x: x)) == "Incorrect: double(3) should be 6, not 3"
    assert repr(DOUBLE.check(starter)) == "Not attempted."
    assert repr(DOUBLE.check(None)) == "Not attempted."


def test_an_answer_that_raises_is_told_so_and_shows_no_traceback() -> None:
    assert repr(DOUBLE.check(lambda x: x["a"])) == (
        "Incorrect: your code raised TypeError: 'int' object is not subscriptable"
    )


def test_hints_go_from_first_to_last_and_the_solution_is_shown() -> None:
    assert repr(DOUBLE.hint()) == "Hint 1 (1 more): Twice."
    assert repr(DOUBLE.hint(2)) == repr(DOUBLE.hint(9)) == "Hint 2: x + x"
    assert "return 2 * x" in repr(DOUBLE.solution())
