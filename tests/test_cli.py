"""coordkit.cli, from the command line's outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from coordkit import check, cli, experiment
from coordkit.cli import app
from coordkit.data.generate_billing import generate_billing
from coordkit.data.tables import write_dataset
from coordkit.layers import LAYERS

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "coordkit.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def complaint(result: Result, runs: Path | None = None) -> str:
    """The one message of a call that must have failed on bad input, having written nothing."""
    assert result.exit_code == 2
    assert result.stderr.startswith("coordkit: ")
    assert "Traceback" not in result.output
    assert result.stdout == ""
    if runs:
        assert not runs.exists()
    return result.stderr


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with billing tables of the user's own."""
    folder = tmp_path / "own"
    write_dataset(generate_billing(20, 5), folder)
    return folder


# --- ladder --------------------------------------------------------------------------------------


def test_ladder_prints_writes_and_reports(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    result = call("ladder", "billing", "--tasks", 10, "--processes", 1, "--runs", runs,
                  "--json", file)  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(file.read_text(encoding="utf-8"))
    assert summary["case"] == "billing"
    assert [entry["rung"] for entry in summary["rungs"]] == list(range(7))
    assert all(e["silent"] + e["loud"] == e["failures"] for e in summary["rungs"])
    assert summary["rungs"][5]["knockout_delta"] is not None
    for entry in summary["rungs"]:
        assert f"{100 * entry['failure_rate']:.1f} %" in result.stdout
    assert "change" in result.stdout and "knock-out" in result.stdout
    (report,) = runs.glob("billing-*/report.html")
    assert str(report) in result.stdout
    assert str(file) in result.stdout


def test_two_cases_make_one_report_and_a_list(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    result = call("ladder", "billing", "support", "--tasks", 5, "--processes", 1, "--runs", runs,
                  "--rungs", "0,6", "--no-knockouts", "--json", file)  # fmt: skip
    assert result.exit_code == 0, result.output
    summaries = json.loads(file.read_text(encoding="utf-8"))
    assert [summary["case"] for summary in summaries] == ["billing", "support"]
    assert str(runs / "report.html") in result.stdout
    assert len(list(runs.rglob("report.html"))) == 1


@pytest.mark.parametrize(
    ("text", "wanted"), [("0-1", [0, 1]), ("3", [3]), ("1,0", [0, 1]), ("0-1,1,4", [0, 1, 4])]
)
def test_rungs_can_be_chosen(text: str, wanted: list[int], runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    result = call("ladder", "billing", "--tasks", 2, "--processes", 1, "--runs", runs,
                  "--rungs", text, "--json", file)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [e["rung"] for e in json.loads(file.read_text())["rungs"]] == wanted


def test_without_knockouts_they_are_not_measured(runs: Path) -> None:
    result = call("ladder", "billing", "--tasks", 2, "--processes", 1, "--runs", runs,
                  "--no-knockouts")  # fmt: skip
    assert result.exit_code == 0, result.output
    (file,) = runs.glob("*/trials.parquet")
    assert pd.read_parquet(file)["stack"].nunique() == 7


def test_without_a_terminal_progress_is_a_plain_line_now_and_then(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["run", "billing", "--tasks", 3, "--layers", "none", "--processes", 1, "--runs"]
    assert call(*options, runs).stderr == "", "a short run says nothing"
    monkeypatch.setattr(cli, "EVERY", 0)
    told = call(*options, runs / "again").stderr
    assert told == "billing: 0 of 3 trials\nbilling: 3 of 3 trials\n"


def test_options_reach_the_settings(runs: Path, own: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    result = call("ladder", "billing", "--tasks", 6, "--seed", 3, "--trials", 2, "--reliability",
                  0.9, "--correlation", 0.2, "--reviewer-accuracy", 0.7, "--data", own,
                  "--rungs", "0", "--processes", 1, "--runs", runs, "--json", file)  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(file.read_text())
    settings, simulation = summary["settings"], summary["settings"]["simulation"]
    assert (summary["tasks"], summary["seed"], settings["trials"]) == (6, 3, 2)
    assert (simulation["reliability"], simulation["correlation"]) == (0.9, 0.2)
    assert (settings["reviewer_accuracy"], settings["data"]) == (0.7, str(own))
    assert len(summary["rungs"][0]["pass_hat_k"]) == 2


def test_stacks_are_measured_shared_out_and_written(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "stacks.csv"
    result = call("stacks", "billing", "--tasks", 2, "--processes", 1, "--runs", runs,
                  "--csv", file)  # fmt: skip
    assert result.exit_code == 0, result.output
    table = pd.read_csv(file, comment="#", dtype={"failed": str}, keep_default_na=False)
    assert table["stack"].nunique() == 64 and (table["failed"].str.len() == 2).all()
    assert all(layer in result.stdout for layer in LAYERS)
    assert "coordkit: 2 tasks are too few for these intervals; they" in result.stderr
    (trials,) = runs.glob("billing-*/trials.parquet")
    assert pd.read_parquet(trials)["stack"].nunique() == 64


# --- run, trace, data, check ---------------------------------------------------------------------


def test_run_measures_any_subset(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    result = call("run", "billing", "--layers", "verification,context", "--tasks", 5,
                  "--processes", 1, "--runs", runs, "--json", file)  # fmt: skip
    assert result.exit_code == 0, result.output
    (entry,) = json.loads(file.read_text())["rungs"]
    assert (entry["rung"], entry["layers"]) == (None, ["context", "verification"])
    assert "context + verification" in result.stdout and "failure rate" in result.stdout
    assert not any(empty in result.stdout for empty in ("change", "knock-out", " p "))


@pytest.mark.parametrize(("layers", "rung"), [("none", 0), ("full", 6), ("planning,context", 2)])
def test_run_knows_a_rung(layers: str, rung: int, runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    result = call("run", "billing", "--layers", layers, "--tasks", 2, "--processes", 1,
                  "--runs", runs, "--json", file)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(file.read_text())["rungs"][0]["rung"] == rung


def test_trace_tells_the_trial_that_the_ladder_ran(runs: Path) -> None:
    options = ["--reliability", 0.7, "--seed", 4, "--tasks", 10]
    call("run", "billing", "--layers", "none", *options, "--processes", 1, "--runs", runs)
    (file,) = runs.glob("*/trials.parquet")
    table = pd.read_parquet(file)
    row = table[table["failed"]].iloc[0]
    result = call("trace", "billing", row["task"], "--layers", "none", *options)
    assert result.exit_code == 0, result.output
    assert f"FAILURE: {row['failure']}\n  cause: {row['cause']}" in result.stdout


def test_trace_lists_the_tasks() -> None:
    result = call("trace", "billing", "--tasks", 7)
    assert result.exit_code == 0
    assert len(result.stdout.split()) == 7


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("BNK-000019x", "BNK-000019"), ("bnk-19", "BNK-000019"), ("BNK-0000019", "BNK-000019"),
     ("BNK-999999", ""), ("TKT-000077", ""), ("foo", "")],
)  # fmt: skip
def test_trace_of_an_unknown_task_names_those_near_it_if_any_are(typed: str, meant: str) -> None:
    text = complaint(call("trace", "billing", typed))
    assert text.count("\n") == 1
    assert "coordkit trace billing lists all" in text
    near = text.partition("nearest: ")[2].partition(";")[0].split(", ")
    assert near[0] == meant and len(near) <= 3


def test_data_fills_a_folder(tmp_path: Path) -> None:
    result = call("data", "billing", "--tasks", 30, "--seed", 1, "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    files = generate_billing(30, 1)
    assert {n: (tmp_path / "new" / n).read_bytes().decode() for n in files} == files


def test_data_without_a_case_makes_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("data", "--tasks", 10).exit_code == 0
    assert (tmp_path / "data/billing/payments.csv").exists()
    assert (tmp_path / "data/support/tickets.csv").exists()


def test_data_does_not_mix_with_what_is_there(tmp_path: Path) -> None:
    for name in ("mine", "theirs", "yours"):
        (tmp_path / f"{name}.csv").write_text("a\n1\n")
    text = complaint(call("data", "billing", "--tasks", 5, "--out", tmp_path))
    assert f"{tmp_path} has another data set's mine.csv and 2 more of its files; choose" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_check_fails_for_what_is_missing(
    ok: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = check.Check("thing", ok, "as found", "mend it")
    monkeypatch.setattr(check, "checks", lambda: [found])
    result = call("check")
    assert result.exit_code == code
    assert "thing: as found" in result.stdout


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ladder", "bilking"], "unknown case 'bilking'; choose from billing, support"),
        (["ladder", "billing", "--rungs", "0-7"], "--rungs cannot be '0-7'"),
        (["ladder", "billing", "--rungs", "4-2"], "--rungs cannot be '4-2'"),
        (["ladder", "billing", "--rungs", ""], "--rungs cannot be ''"),
        (["ladder", "billing", "support", "--data", "."], "name one case"),
        (["ladder", "billing", "--json", "absent/x.json"], "--json absent/x.json: cannot be"),
        (["stacks", "billing", "support", "--data", "."], "name one case"),
        (["stacks", "billing", "--csv", "."], "--csv .: cannot be written"),
        (["ladder", "billing", "--json", "."], "--json .: cannot be written"),
        (["ladder", "billing", "--data", "absent"], "absent: there is no such directory"),
        (["run", "billing", "--layers", "context,magic"], "unknown layers: magic"),
        (["run", "billing", "--json", "a-file/x.json"], "--json a-file/x.json: cannot be written"),
    ],
)
def test_bad_options_get_one_message(
    arguments: list[str], told: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    text = complaint(call(*arguments, "--runs", runs), runs)
    assert told in text
    assert text.count("\n") == 1


OUT_OF_RANGE = {
    "--reliability": ["1.5", "nan"],
    "--correlation": ["-1"],
    "--tasks": ["0"],
    "--trials": ["x"],
    "--seed": ["-1"],
}


@pytest.mark.parametrize("option", [(o, v) for o, values in OUT_OF_RANGE.items() for v in values])
def test_numbers_out_of_range_are_refused(option: tuple[str, str], runs: Path) -> None:
    text = complaint(call("ladder", "billing", *option, "--runs", runs), runs)
    assert option[0] in text and text.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "No such command 'nonsense'; see"),
        (["chek"], "No such command 'chek'. Did you mean 'check'; see"),
        (["data", "billing", "--out", __file__], "is a file; see"),
        (["ladder"], "Missing argument 'CASE...'; see"),
        (["ladder", "billing", "--nonsense"], "No such option: --nonsense"),
        (["ladder", "billing", "--json"], "'--json' requires an argument; see"),
    ],
)
def test_what_cannot_be_understood_gets_one_line_like_any_error(
    arguments: list[str], told: str
) -> None:
    text = complaint(call(*arguments))
    assert told in text and text.endswith(" --help\n") and text.count("\n") == 1


@pytest.mark.parametrize("command", "ladder run stacks trace data serve columns check".split())
def test_every_command_has_a_help_that_is_not_cut_off(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = call(command, "-h")
    assert shown.exit_code == 0 and shown.output == call(command, "--help").output
    assert "…" not in shown.output
    told = [line.strip() for line in shown.output.partition("─")[0].splitlines()[2:]]
    assert all(len(line) > 60 for line, after in pairwise(told) if line and after)


@pytest.mark.parametrize("command", ["ladder", "run", "trace"])
def test_the_options_of_a_trial_are_those_of_the_ladder(command: str) -> None:
    shown = call(command, "--help").output
    options = ("--tasks", "--seed", "--data", "--model", "--budget-usd", "--price-in", "--replay")
    assert all(option in shown for option in options)
    assert ("--concurrency" in shown) == (command != "trace")


def test_no_command_shows_the_help_and_a_question_can_be_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "ladder" in call().output and "coordkit:" not in call().stderr

    def leave(**_: object) -> None:
        raise typer.Abort

    monkeypatch.setattr(check, "checks", leave)
    left = call("check")
    assert (left.exit_code, left.stderr) == (130, "\ncoordkit: stopped\n")


def test_runs_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = complaint(call("ladder", "billing", "--tasks", 2, "--runs", tmp_path / "file" / "runs"))
    assert "is not a folder that can be written" in text


def replaced(file: str, old: str, new: str) -> Callable[[Path], None]:
    """An edit of a table: the first `old` below the header becomes `new`."""

    def edit(folder: Path) -> None:
        header, _, rows = (folder / file).read_text(encoding="utf-8").partition("\n")
        assert old in rows
        (folder / file).write_text(header + "\n" + rows.replace(old, new, 1), encoding="utf-8")

    return edit


def cell(file: str, column: str, value: str) -> Callable[[Path], None]:
    """An edit of a table: the first row gets a value in a column."""

    def edit(folder: Path) -> None:
        frame = pd.read_csv(folder / file, dtype=str, keep_default_na=False)
        frame.loc[0, column] = value
        frame.to_csv(folder / file, index=False)

    return edit


def without(file: str, column: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        frame = pd.read_csv(folder / file, dtype=str, keep_default_na=False)
        frame.drop(columns=column).to_csv(folder / file, index=False)

    return edit


def header_only(folder: Path) -> None:
    header = (folder / "payments.csv").read_text(encoding="utf-8").split("\n")[0]
    (folder / "payments.csv").write_text(header + "\n", encoding="utf-8")


def repeated_id(folder: Path) -> None:
    first = (folder / "invoices.csv").read_text(encoding="utf-8").split("\n")[1]
    with (folder / "invoices.csv").open("a", encoding="utf-8") as file:
        file.write(first + "\n")


def no_encoding(folder: Path) -> None:
    text = (folder / "payments.csv").read_text(encoding="utf-8")
    odd = text.replace(",PAYMENT", ",PAYM\x81NT")  # neither UTF-8 nor Windows-1252
    (folder / "payments.csv").write_bytes(odd.encode("latin-1"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "invoices.csv").unlink(), ["invoices.csv: is missing"]),
        (without("payments.csv", "amount"), ["payments.csv row 1, column amount: is missing"]),
        (cell("payments.csv", "amount", "a lot"), ["payments.csv row 2, column amount", "a lot"]),
        (cell("payments.csv", "amount", "-5.00"), ["payments.csv row 2, column amount", "negat"]),
        (cell("invoices.csv", "amount", "9" * 12), ["invoices.csv row 2, column amount", "above"]),
        (cell("payments.csv", "currency", "ZZZ"), ["payments.csv row 2, column currency", "ZZZ"]),
        (cell("payments.csv", "received_on", "soon"), ["row 2, column received_on", "not a date"]),
        (cell("payments.csv", "remittance_text", "x" * 10_000_000),
         ["payments.csv row 2, column remittance_text", "shorten it"]),
        (header_only, ["payments.csv: has a header but no rows"]),
        (lambda folder: (folder / "payments.csv").write_text(""), ["payments.csv: is empty"]),
        (repeated_id, ["invoices.csv row ", "column invoice_id", "stands in an earlier row"]),
        (no_encoding, ["payments.csv row ", "is not UTF-8"]),
    ],
    ids="missing column type negative absurd currency date huge no-rows empty ids encoding".split(),
)  # fmt: skip
def test_bad_data_is_named_by_file_row_and_column(
    damage: Callable[[Path], None], told: list[str], own: Path, runs: Path
) -> None:
    damage(own)
    text = complaint(call("ladder", "billing", "--data", own, "--runs", runs), runs)
    assert all(part in text for part in told), text
    assert len(text) < 5000


# --- as a process --------------------------------------------------------------------------------


def test_bad_data_leaves_no_traceback_in_a_real_process(own: Path, runs: Path) -> None:
    cell("payments.csv", "amount", "a lot")(own)
    done = subprocess.run(
        [*COMMAND, "ladder", "billing", "--data", own, "--runs", runs],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("coordkit: payments.csv row 2, column amount")
    assert done.stderr.count("\n") == 1
    assert not runs.exists()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from coordkit.cli import app; from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['ladder', '--help']).exit_code == 0\n"
        "sys.exit(bool({'pandas', 'langgraph', 'plotly', 'scipy'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=False).returncode == 0
    )


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with subprocess.Popen(
        [*COMMAND, "trace", "billing"], env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent to a process group")
def test_ctrl_c_keeps_finished_blocks_and_the_rerun_is_as_if_nothing_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["ladder", "billing", "--tasks", "450", "--rungs", "0-1", "--processes", "1"]
    runs, file = tmp_path / "runs", tmp_path / "again.json"
    process = subprocess.Popen(
        [*COMMAND, *options, "--runs", runs], env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        # Tests started in the background of a shell ignore Ctrl-C, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(runs.glob("*/part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "trials of billing are kept in" in told
    assert "the same command continues" in told
    assert "Traceback" not in told
    (kept,) = {part.parent for part in runs.glob("*/part-*.parquet")}
    finished = {part.name for part in kept.glob("part-*.parquet")}
    assert not (kept / "trials.parquet").exists()

    measured = []

    def noting(settings: experiment.Settings, block: experiment.Block, *rest: object) -> int:
        measured.append(block.file)
        return run_block(settings, block, *rest)

    run_block = experiment._run_block
    monkeypatch.setattr(experiment, "_run_block", noting)
    assert call(*options, "--runs", runs, "--json", file).exit_code == 0
    assert list(runs.iterdir()) == [kept]
    assert len(measured) == 10 - len(finished)
    assert not finished & set(measured)
    undisturbed = tmp_path / "undisturbed.json"
    call(*options, "--runs", tmp_path / "fresh", "--json", undisturbed)
    assert json.loads(file.read_text()) == json.loads(undisturbed.read_text())
