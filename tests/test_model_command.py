"""The commands on a real endpoint: what they ask, say, spend and keep, and that no key is in it."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from coordkit.cli import app
from coordkit.faults import Simulation
from coordkit.response_cache import ResponseCache
from coordkit.serve import Options, Served, serving

CANARY = "sk-canary-0123456789abcdef"
PRICED = ("--price-in", "1", "--price-out", "4")
RUN = ("run", "billing", "--tasks", "3", "--model", "openai:stand-in")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(options=Options(Simulation(), token=CANARY), cases=("billing",)) as served:
        yield served


@pytest.fixture
def key(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", served.url)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)


def call(*arguments: object, **options: Any) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], **options)


def complaint(result: Result) -> str:
    assert result.exit_code == 2 and "Traceback" not in result.output
    lines = [x for x in result.stderr.splitlines() if x.startswith("coordkit: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.usefixtures("key")
def test_a_ladder_runs_is_replayed_and_never_tells_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, file = tmp_path / "runs", tmp_path / "out.json"
    ladder = ("ladder", "billing", "--tasks", "3", "--rungs", "0,4", "--model", "openai:stand-in")
    paid = call(*ladder, *PRICED, "--yes", "--runs", runs, "--json", file)
    assert paid.exit_code == 0, paid.output
    assert "about" in paid.stderr and "1 and 4 USD per million: yours" in paid.stderr
    assert "remittance_text" in paid.stderr, "it says which columns are sent"
    assert "requests sent" in paid.stderr
    summary = json.loads(file.read_text(encoding="utf-8"))
    assert summary["model"] == "openai:stand-in"
    own = json.loads(json.dumps(summary["settings"]))
    assert own["endpoint"].startswith("http://127.0.0.1:")

    monkeypatch.delenv("OPENAI_API_KEY")
    replayed = tmp_path / "replayed.json"
    for folder in runs.glob("billing-*"):
        folder.rename(tmp_path / "put away")
    again = call(*ladder, *PRICED, "--replay", "--runs", runs, "--json", replayed)
    assert again.exit_code == 0, again.output
    assert json.loads(replayed.read_text()) == summary
    more = [part.replace("0,4", "0,4,6") for part in ladder]
    partly = complaint(call(*more, *PRICED, "--replay", "--runs", runs))
    assert "6 of 27 trials of billing are kept in" in partly
    address = own["endpoint"]
    monkeypatch.delenv("OPENAI_BASE_URL")  # nothing is kept from the provider's own address
    before = {path.name for path in runs.iterdir()}
    lost = complaint(call(*ladder, "--replay", "--runs", runs))
    assert f"from {address}. A replay needs" in lost and "OPENAI_BASE_URL" in lost
    assert {path.name for path in runs.iterdir()} == before, "no folder for a run that is none"
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    told = call("trace", "billing", "BNK-000001", "--tasks", "3", "--layers",
                "context,planning,execution,state", "--model", "openai:stand-in",
                "--replay", "--runs", runs)  # fmt: skip
    assert told.exit_code == 0 and "Verdict" in told.output, told.output

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    said = "".join(r.output + r.stderr for r in (paid, again, told))
    assert b"openai:stand-in" in written and CANARY.encode() not in written
    assert CANARY not in said


@pytest.mark.usefixtures("key")
def test_nothing_is_spent_without_a_yes(tmp_path: Path) -> None:
    result = call(*RUN, *PRICED, "--runs", tmp_path, input="n\n")
    assert result.exit_code == 130 and "Go on?" in result.output
    assert not list(tmp_path.glob("*/*.parquet"))
    nobody = call(*RUN, *PRICED, "--runs", tmp_path)  # standard input is at its end
    assert "no terminal to ask at; add --yes" in complaint(nobody)
    one = ("trace", "billing", "BNK-000001", "--model", "openai:stand-in", "--runs", tmp_path)
    result = call(*one, input="n\n")
    assert result.exit_code == 130 and "about" in result.stderr and "Verdict" not in result.output
    assert not list(tmp_path.glob("*/*.parquet"))


@pytest.mark.usefixtures("key")
def test_unknown_prices_are_called_unknown_and_never_nothing(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    ladder = ("ladder", "billing", "--tasks", "2", "--rungs", "0", "--model", "openai:stand-in",
              "--yes", "--runs", tmp_path, "--json", file)  # fmt: skip
    done = call(*ladder)
    assert done.exit_code == 0, done.output
    assert "at unknown prices (the price table has none for this model: give" in done.stderr
    assert "1.0  unknown" in done.stdout and "0.0000" not in done.stdout
    assert "USD unknown: the price table lacks this model; give --price-in" in done.stdout
    assert json.loads(file.read_text())["rungs"][0]["cost_per_task_usd"] is None
    (report,) = tmp_path.rglob("report.html")
    assert "<td>unknown</td>" in report.read_text(encoding="utf-8")
    done = call(*ladder, *PRICED)
    assert done.exit_code == 0
    assert "1.0  unknown" not in done.stdout and "USD unknown" not in done.stdout
    assert json.loads(file.read_text())["rungs"][0]["cost_per_task_usd"] > 0


@pytest.mark.usefixtures("key")
def test_a_budget_stops_and_the_same_command_with_a_higher_one_pays_for_the_rest(
    tmp_path: Path,
) -> None:
    command = (*RUN, "--layers", "context,planning,execution,state", "--yes")
    options = (*command, "--runs", tmp_path / "runs")
    assert "--price-in" in complaint(call(*options, "--budget-usd", "1"))
    stopped = call(*options, *PRICED, "--budget-usd", "0.0001")
    assert "that is more than the budget of 0.0001 USD: the run will stop" in stopped.stderr
    told = complaint(call(*options, *PRICED, "--budget-usd", "0.03"))
    assert "stopped before the budget of 0.03 USD" in told and "USD spent" in told
    assert "trials of billing are kept" in told
    assert "the same command with a higher --budget-usd goes on, and what is paid is kept" in told
    responses = ResponseCache(tmp_path / "runs" / "responses.sqlite")
    paid = sum(responses.count("openai:stand-in").values())
    rest = sent(call(*options, *PRICED, "--budget-usd", "1"))
    assert paid > 0 and paid + rest == sent(call(*command, *PRICED, "--runs", tmp_path / "all"))


def sent(result: Result) -> int:
    """How many requests a command says that it sent."""
    assert result.exit_code == 0, result.output
    return int(result.stderr.split(" requests sent")[0].split()[-1])


def test_what_is_wrong_with_an_endpoint_is_one_line_without_the_key(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*RUN, "--yes", "--runs", tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "set OPENAI_API_KEY" in complaint(call(*options))
    wrong = "sk-another-canary-9876543210"
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    monkeypatch.setenv("OPENAI_BASE_URL", served.url)
    refused = call(*options)
    assert "(401)" in complaint(refused) and wrong not in refused.output
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    gone = call(*options)
    assert "cannot be used" in complaint(gone) and wrong not in gone.output
    told = complaint(call(*options, "--replay"))
    assert "no answer of openai:stand-in" in told and "the same command" not in told
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert wrong.encode() not in written


def test_options_of_a_real_model_are_for_a_real_model(tmp_path: Path) -> None:
    assert "name it with --model" in complaint(
        call("run", "billing", "--tasks", "3", "--budget-usd", "1", "--runs", tmp_path)
    )
    told = complaint(call(*RUN, "--price-in", "1", "--runs", tmp_path))
    assert "--price-in and --price-out belong together" in told
    told = complaint(call("run", "billing", "--tasks", "3", "--model", "no-such-provider:x",
                          "--runs", tmp_path))  # fmt: skip
    assert "no-such-provider:x cannot be made" in told
    told = complaint(call("run", "billing", "--tasks", "3", "--model", "foo", "--runs", tmp_path))
    assert "write simulated, openai:NAME" in told and "PROVIDER:NAME" in told
