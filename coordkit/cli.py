"""The command line: ladder, run, stacks, trace, data, columns, serve, check.

What takes long to import is imported in the commands, so that ``coordkit --help`` is quick.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from coordkit.layers import LAYERS

if TYPE_CHECKING:
    import pandas as pd

    from coordkit.experiment import Settings
    from coordkit.ladder import Entry, Summary
    from coordkit.models import MeteredChatModel
    from coordkit.prices import Prices
    from coordkit.stack import Stack

OUR_ERROR, STOPPED = 2, 130
USAGE_ERROR: Any = typer.BadParameter.__base__  # click's, or that of the click in typer


class _Commands(TyperGroup):
    """Tells of wrong options as of everything else: in one line, not in a box."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        try:
            sys.exit(super().main(*args, **{**extra, "standalone_mode": False}))
        except typer.Abort:  # Ctrl-C or the end of input at a question
            typer.echo("\ncoordkit: stopped", err=True)
            sys.exit(STOPPED)
        except USAGE_ERROR as error:
            if message := " ".join(error.format_message().split()):  # empty: the help was asked for
                where = error.ctx.command_path if error.ctx else "coordkit"
                typer.echo(f"coordkit: {message.rstrip('.?')}; see {where} --help", err=True)
            sys.exit(OUR_ERROR)


app = typer.Typer(
    cls=_Commands,
    help="Measure what six coordination layers do to the failure rate of LLM agents.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

MAX_TASKS = 200_000
MIN_WIDTH = 100  # of tables, where the output is no terminal
EVERY = 30.0  # seconds between lines of progress, where the output is no terminal
FEW = 30  # tasks; a bootstrap of fewer tells less than its interval says

CaseArgument = Annotated[
    str, typer.Argument(metavar="CASE", help="billing, support, or module:factory.")
]
Tasks = Annotated[
    int | None,
    typer.Option(
        min=1, max=MAX_TASKS, show_default="all of the sample's 2,000",
        help="Number of tasks; more than the sample has are generated.",
    ),
]  # fmt: skip
Seed = Annotated[int, typer.Option(min=0, help="Seed of the simulated model's dice.")]
Trials = Annotated[int, typer.Option(min=1, max=1000, help="Independent trials per task.")]
Reliability = Annotated[
    float, typer.Option(min=0, max=1, help="Probability that one step's answer is right.")
]
Correlation = Annotated[
    float,
    typer.Option(min=0, max=1, help="Correlation of repeated attempts at one step of one task."),
]
ReviewerAccuracy = Annotated[
    float, typer.Option(min=0, max=1, help="Probability that a fresh reviewer decides rightly.")
]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="A folder with your own tables.")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the results there too.")
]
Processes = Annotated[
    int | None, typer.Option(min=1, show_default="one per core", help="Worker processes.")
]
Runs = Annotated[Path, typer.Option(metavar="DIR", help="Folder for trials and reports.")]
Layers = Annotated[
    str,
    typer.Option(metavar="LIST", help=f"full, none, or some of {', '.join(LAYERS)}."),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="simulated; openai:NAME for any endpoint of that interface (OPENAI_API_KEY, "
        "OPENAI_BASE_URL); or provider:NAME, as LangChain's init_chat_model has it.",
    ),
]
Budget = Annotated[
    float | None, typer.Option(min=0, help="Stop before the calls of this command cost more.")
]
PriceIn = Annotated[
    float | None, typer.Option(min=0, help="USD per million tokens sent, instead of the list's.")
]
PriceOut = Annotated[float | None, typer.Option(min=0, help="The same for tokens received.")]
Concurrency = Annotated[
    int, typer.Option(min=1, max=64, help="Requests under way at a time to a real model.")
]
Replay = Annotated[
    bool,
    typer.Option("--replay", help="Answer from the responses kept: no key, no network."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Spend money without asking first.")]
Defaults = {"reliability": 0.96, "correlation": 0.32, "reviewer_accuracy": 0.95}


def main() -> None:
    """Entry point of the ``coordkit`` command."""
    app()


@app.callback()
def quiet() -> None:
    """Keep libraries from warning about their own affairs, and from calling home."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of worker processes
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    os.environ.setdefault("LANGCHAIN_TRACING_V2", "false")


# --- the commands --------------------------------------------------------------------------------


@app.command()
def ladder(
    cases: Annotated[
        list[str],
        typer.Argument(metavar="CASE...", help="billing, support or both; or module:factory."),
    ],
    tasks: Tasks = None,
    seed: Seed = 0,
    trials: Trials = 1,
    reliability: Reliability = Defaults["reliability"],
    correlation: Correlation = Defaults["correlation"],
    reviewer_accuracy: ReviewerAccuracy = Defaults["reviewer_accuracy"],
    rungs: Annotated[str, typer.Option(metavar="LIST", help="Like 0-6, 3 or 0,3,5.")] = "0-6",
    data: Data = None,
    json_file: Json = None,
    processes: Processes = None,
    runs: Runs = Path("runs"),
    no_knockouts: Annotated[
        bool, typer.Option("--no-knockouts", help="Do not measure each layer's absence.")
    ] = False,
    model: Model = "simulated",
    budget_usd: Budget = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    concurrency: Concurrency = 4,
    replay: Replay = False,
    yes: Yes = False,
) -> None:
    """Climb the ladder of layers and print the failure rate at every rung.

    Rung 0 is a bare model, rung k has layers 1 to k. Each layer is also knocked out of all six.
    The same command continues what was interrupted.
    """
    with _clear_errors():
        from coordkit.experiment import ladder_stacks
        from coordkit.ladder import summarise

        chosen = _rungs(rungs)
        _one_case_per_folder(cases, data)
        plans = [
            _settings(case, tasks, seed, trials, reliability, correlation, reviewer_accuracy, data)
            for case in dict.fromkeys(cases)
        ]
        _check_targets("--json", json_file, runs)
        stacks = ladder_stacks(chosen, not no_knockouts)
        chat = _chat(model, runs, seed, budget_usd, (price_in, price_out), replay)
        plans = [_with_chat(s, chat, (price_in, price_out)) for s in plans]
        _agree(plans, stacks, chat, yes or replay)
        workers = concurrency if chat else processes
        results = []
        for settings in plans:  # each case is shown as soon as it is measured
            table, folder = _measure(settings, stacks, runs, workers, chat)
            results.append((summarise(table, settings, chosen), table))
            _show(results[-1][0])
        _close(results, folder if len(plans) == 1 else runs, json_file)


@app.command()
def run(
    case: CaseArgument,
    layers: Layers = "full",
    tasks: Tasks = None,
    seed: Seed = 0,
    trials: Trials = 1,
    reliability: Reliability = Defaults["reliability"],
    correlation: Correlation = Defaults["correlation"],
    reviewer_accuracy: ReviewerAccuracy = Defaults["reviewer_accuracy"],
    data: Data = None,
    json_file: Json = None,
    processes: Processes = None,
    runs: Runs = Path("runs"),
    model: Model = "simulated",
    budget_usd: Budget = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    concurrency: Concurrency = 4,
    replay: Replay = False,
    yes: Yes = False,
) -> None:
    """Measure one stack: any subset of the layers."""
    with _clear_errors():
        from coordkit.ladder import summarise_stack

        stack = _stack(layers)
        settings = _settings(
            case, tasks, seed, trials, reliability, correlation, reviewer_accuracy, data
        )
        _check_targets("--json", json_file, runs)
        chat = _chat(model, runs, seed, budget_usd, (price_in, price_out), replay)
        settings = _with_chat(settings, chat, (price_in, price_out))
        _agree([settings], [stack], chat, yes or replay)
        workers = concurrency if chat else processes
        table, folder = _measure(settings, [stack], runs, workers, chat)
        summary = summarise_stack(table, settings, stack)
        _show(summary)
        _close([(summary, table)], folder, json_file, report=False)


@app.command()
def stacks(
    cases: Annotated[
        list[str],
        typer.Argument(metavar="CASE...", help="billing, support or both; or module:factory."),
    ],
    tasks: Annotated[int, typer.Option(min=1, max=MAX_TASKS, help="Tasks per stack.")] = 200,
    seed: Seed = 0,
    data: Data = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write one row per stack there.")
    ] = None,
    processes: Processes = None,
    runs: Runs = Path("runs"),
) -> None:
    """Measure all 64 stacks and share out the failures removed among the layers.

    The same command continues what was interrupted.
    """
    with _clear_errors():
        from coordkit.attribution import all_stacks, stack_rows, write_stacks

        _one_case_per_folder(cases, data)
        plans = [
            _settings(case, tasks, seed, 1, **Defaults, data=data) for case in dict.fromkeys(cases)
        ]
        _check_targets("--csv", csv_file, runs)
        tables = [stack_rows(_measure(s, all_stacks(), runs, processes)[0], s) for s in plans]
        for table in tables:
            _console().print(_shares_table(table))
            if table["tasks"].iloc[0] < FEW:
                many = f"{table['tasks'].iloc[0]} tasks are too few for these intervals; they"
                typer.echo(f"coordkit: {many} are too narrow; take {FEW} or more", err=True)
        if csv_file:
            write_stacks(tables, csv_file)
            typer.echo(f"stacks: {csv_file}")


@app.command()
def trace(
    case: CaseArgument,
    task_id: Annotated[
        str, typer.Argument(metavar="TASK_ID", help="A task; without it the ids are listed.")
    ] = "",
    layers: Layers = "full",
    trial: Annotated[int, typer.Option(min=0, help="Which trial of the task, from 0.")] = 0,
    tasks: Tasks = None,
    seed: Seed = 0,
    reliability: Reliability = Defaults["reliability"],
    correlation: Correlation = Defaults["correlation"],
    reviewer_accuracy: ReviewerAccuracy = Defaults["reviewer_accuracy"],
    data: Data = None,
    model: Model = "simulated",
    runs: Runs = Path("runs"),
    replay: Replay = False,
    yes: Yes = False,
) -> None:
    """Tell one trial step by step: what each agent saw and said, and why it failed.

    Give the options that a ladder was run with, and it is the same trial.
    """
    with _clear_errors():
        stack = _stack(layers)
        settings = _settings(
            case, tasks, seed, trial + 1, reliability, correlation, reviewer_accuracy, data
        )
        from coordkit.experiment import case_of, make_bench
        from coordkit.trace import tell

        known = {task.id: task for task in case_of(settings).tasks}
        if not task_id:
            typer.echo("\n".join(known))
        elif task_id not in known:
            _fail(_unknown_task(case, task_id, list(known)))
        else:
            chat = _chat(model, runs, seed, replay=replay)
            _agree([replace(settings, tasks=1, trials=1)], [stack], chat, yes or replay)
            bench = make_bench(_with_chat(settings, chat), stack, chat)
            _console().print(tell(bench, known[task_id], trial), markup=False, soft_wrap=True)


@app.command()
def data(
    case: Annotated[
        str, typer.Argument(metavar="CASE", help="billing or support; both if left out.")
    ] = "",
    tasks: Annotated[int, typer.Option(min=1, max=MAX_TASKS, help="Number of tasks.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", file_okay=False, show_default="data/CASE", help="Folder to fill."
        ),
    ] = None,
) -> None:
    """Make a synthetic data set of any size."""
    with _clear_errors():
        from coordkit.data.sample import CASES
        from coordkit.data.tables import write_dataset

        for name in [_kit_case(case)] if case else CASES:
            folder = out / name if out and not case else out or Path("data") / name
            files = CASES[name](tasks, seed)
            write_dataset(files, folder)
            typer.echo(f"{name}: {tasks:,} tasks, {len(files)} files in {folder}")


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8321,
    upstream: Annotated[
        str, typer.Option(metavar="URL", help="Put the faults in front of this real endpoint.")
    ] = "",
    reliability: Reliability = Defaults["reliability"],
    correlation: Correlation = Defaults["correlation"],
    seed: Seed = 0,
    modes: Annotated[
        list[str] | None,
        typer.Option("--mode", metavar="MODE=WEIGHT", help="Only these modes of fault, so often."),
    ] = None,
    stall: Annotated[
        float, typer.Option(min=0, help="Seconds that a simulated time-out takes.")
    ] = 30.0,
    body_limit: Annotated[
        int, typer.Option(min=1, help="Largest request body, in bytes.")
    ] = 1_000_000,
) -> None:
    """Serve the simulated model to any agent, as an OpenAI-compatible endpoint.

    With --upstream, requests go on to a real model, and the same faults are put in front of it.
    If COORDKIT_SERVE_TOKEN is set, callers must send it as their API key; then the key for the
    upstream is read from OPENAI_API_KEY. Otherwise the callers' own goes on to it.

    A request that is sent again under its Idempotency-Key, as coordkit's own are, gets the reply
    of before and is not paid again, also with --upstream; a run with another --seed asks afresh.
    The simulated model ignores temperature, max_tokens and stop; n greater than 1 is a 400. It has
    sense only for the prompts of the kit's two cases: others get an answer of the right form with
    made-up content, enough to try an agent's handling of faults. For sense, use --upstream.
    """
    with _clear_errors():
        mix = _mix(modes or [])
        from coordkit.faults import Simulation
        from coordkit.serve import Options, Served
        from coordkit.serve import serve as serve_until_stopped

        def announce(served: Served) -> None:
            what = f"the faults in front of {upstream}" if upstream else "the simulated model"
            typer.echo(f"coordkit: {what} at {served.url}; metrics at {served.metrics_url}")
            typer.echo("coordkit: Ctrl-C stops it")

        try:
            settings = {"reliability": reliability, "correlation": correlation, "seed": seed}
            simulation = Simulation(**settings, **({"mix": mix} if mix else {}))  # type: ignore[arg-type]
            token = os.environ.get("COORDKIT_SERVE_TOKEN", "")
            options = Options(simulation, upstream, token, stall, body_limit)
            serve_until_stopped(options, host, port, announce=announce)
        except ValueError as error:
            _fail(str(error))
        typer.echo("coordkit: stopped", err=True)


@app.command()
def columns(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with your tables.")],
    case: Annotated[str, typer.Argument(metavar="CASE", help="billing or support.")],
) -> None:
    """Say which of your columns is taken for which, what is missing, how many tasks have labels.

    columns.toml in the folder corrects the guesses.
    """
    with _clear_errors():
        from coordkit.own_data import TO_MEND, describe

        told = describe(directory, _kit_case(case))
        typer.echo(told)
        if TO_MEND in told:
            raise typer.Exit(1)


@app.command()
def check() -> None:
    """Say what this machine lacks to run coordkit, and the command that mends it."""
    from coordkit import check as environment

    found = environment.checks()
    typer.echo(environment.report(found))
    if not all(c.ok for c in found):
        raise typer.Exit(1)


# --- reading the options -------------------------------------------------------------------------


def _fail(message: str) -> NoReturn:
    typer.echo(f"coordkit: {message}", err=True)
    raise typer.Exit(OUR_ERROR)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn what a user can mend into one message, and Ctrl-C into a word and its exit code."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\ncoordkit: stopped", err=True)
        raise typer.Exit(STOPPED) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}")
    except Exception as error:
        from coordkit.cases import UnknownCase
        from coordkit.data.files import DataError
        from coordkit.models import ModelProblem

        if not isinstance(error, DataError | ModelProblem | UnknownCase):
            raise
        _fail(str(error))


def _known_case(name: str) -> str:
    """A case's name; one's own, like module:factory, is looked for in this folder too."""
    if ":" not in name:
        return _kit_case(name)
    sys.path.insert(0, str(Path.cwd()))  # worker processes take it over
    return name


def _kit_case(name: str) -> str:
    from coordkit.data.sample import CASES

    if name not in CASES:
        _fail(f"unknown case '{name}'; choose from {', '.join(CASES)}")
    return name


def _mix(modes: Sequence[str]) -> dict[str, float]:
    """Weights of fault modes from texts such as rate_limited=1."""
    from coordkit.faults import default_mix

    mix, known = {}, default_mix()
    for text in modes:
        mode, _, weight = text.partition("=")
        if mode not in known or not re.fullmatch(r"\d+(\.\d+)?", weight):
            known_modes = ", ".join(known)
            _fail(f"--mode cannot be '{text}'; write it like rate_limited=1; modes: {known_modes}")
        mix[mode] = float(weight)
    return mix


def _rungs(text: str) -> list[int]:
    """Rungs from text such as 0-6, 3 or 0,3,5."""
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-6])\s*(?:-\s*([0-6])\s*)?", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high:
            _fail(f"--rungs cannot be '{text}'; write it like 0-6, 3 or 0,3,5 (rungs are 0 to 6)")
        chosen.update(range(low, high + 1))
    return sorted(chosen)


def _stack(text: str) -> Stack:
    """A stack from text such as full, none or context,planning."""
    from coordkit.stack import Stack

    named = {"full": list(LAYERS), "none": []}.get(text.strip())
    layers = re.split(r"\s*[,+]\s*", text.strip()) if named is None else named
    try:
        return Stack.of(*layers)
    except ValueError as error:
        _fail(f"--layers: {error}, full or none")


def _settings(
    case: str,
    tasks: int | None,
    seed: int,
    trials: int,
    reliability: float,
    correlation: float,
    reviewer_accuracy: float,
    data: Path | None,
) -> Settings:
    """Settings whose case could be loaded: what is wrong with the data comes out here."""
    _known_case(case)
    from coordkit.cases import UnknownCase
    from coordkit.experiment import Settings, case_of
    from coordkit.faults import Simulation

    simulation = Simulation(reliability=reliability, correlation=correlation, seed=seed)
    try:
        settings = Settings(
            case, tasks, trials, str(data) if data else "", simulation,
            reviewer_accuracy=reviewer_accuracy,
        )  # fmt: skip
        found = case_of(settings)
    except UnknownCase as error:
        _fail(str(error))
    if tasks and len(found.tasks) < tasks:
        typer.echo(f"coordkit: there are {len(found.tasks):,} tasks, not {tasks:,}", err=True)
    if found.left_out:
        what = f"{found.left_out:,} tasks have no labels and are left out"
        typer.echo(f"coordkit: {what}; coordkit columns {data} {case}", err=True)
    return settings


def _one_case_per_folder(cases: Sequence[str], data: Path | None) -> None:
    if data and len(set(cases)) > 1:
        _fail("--data holds the tables of one case; name one case")


def _check_targets(option: str, file: Path | None, runs: Path) -> None:
    """Complain of places that cannot be written before hours are spent on results for them."""
    folder = file.parent if file else runs
    if file and (file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK)):
        _fail(f"{option} {file}: cannot be written; its folder must exist and be yours to write")
    there = next(folder for folder in [runs, *runs.parents] if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        _fail(f"--runs {runs}: {there} is not a folder that can be written")


def _unknown_task(case: str, task_id: str, known: Sequence[str]) -> str:
    by_short = {_short(name): name for name in known}
    near = difflib.get_close_matches(_short(task_id), by_short, n=3, cutoff=0.85)
    hint = f"nearest: {', '.join(by_short[name] for name in near)}; " if near else ""
    return f"{case} has no task '{task_id}'; {hint}coordkit trace {case} lists all {len(known):,}"


def _short(task_id: str) -> str:
    """An id as people type it: in any case, without the zeros in front of its number."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", task_id.casefold())


# --- a real model --------------------------------------------------------------------------------


def _chat(
    model: str,
    runs: Path,
    seed: int,
    budget: float | None = None,
    price: tuple[float | None, float | None] = (None, None),
    replay: bool = False,
) -> MeteredChatModel | None:
    """The real model that was asked for; None for the simulated one."""
    if model == "simulated":
        if budget is not None or replay:
            _fail("--budget-usd and --replay are for a real model: name it with --model")
        return None
    from coordkit.models import MeteredChatModel, make

    chat = make(
        model, cache=runs / "responses.sqlite", prices=_prices(price), budget=budget,
        replay=replay, sample=seed,
    )  # fmt: skip
    assert isinstance(chat, MeteredChatModel)
    return chat


def _prices(price: tuple[float | None, float | None]) -> Prices | None:
    from coordkit.prices import Prices

    if None in price:
        if price != (None, None):
            _fail("--price-in and --price-out belong together; give both, USD per million tokens")
        return None
    return Prices(*price)


def _with_chat(
    settings: Settings,
    chat: MeteredChatModel | None,
    price: tuple[float | None, float | None] = (None, None),
) -> Settings:
    """Settings that name the model and its prices."""
    from coordkit.experiment import with_model

    if chat:
        return with_model(settings, chat)
    return replace(settings, prices=_prices(price) or settings.prices)


def _agree(
    plans: Sequence[Settings], stacks: Sequence[Stack], chat: MeteredChatModel | None, yes: bool
) -> None:
    """Say what a run on a real model will cost and send where, and ask whether to go on."""
    if chat is None:
        return
    if chat.inner is None:
        return chat.check()
    from coordkit.estimate import estimate

    for settings in plans:
        typer.echo(f"{settings.case}: {estimate(settings, stacks, chat)}", err=True)
    if kept := chat.responses.count(chat.label).get(chat.endpoint):
        where = f"{kept:,} responses of it are kept in {chat.responses.path}"
        typer.echo(f"{where}; what is among them costs nothing", err=True)
    try:
        agreed = yes or typer.confirm("Go on?", err=True)
    except RuntimeError:  # typer.Abort is one; another comes of a standard input that is closed
        if sys.stdin and sys.stdin.isatty():
            raise
        typer.echo(err=True)
        _fail("there is no terminal to ask at; add --yes to spend money without being asked")
    if not agreed:
        raise typer.Exit(STOPPED)
    chat.check()  # not before: it sends requests


# --- running and showing -------------------------------------------------------------------------


def _measure(
    settings: Settings,
    stacks: Sequence[Stack],
    runs: Path,
    workers: int | None,
    chat: MeteredChatModel | None = None,
) -> tuple[pd.DataFrame, Path]:
    """Run stacks, and say on the way how far they are."""
    from coordkit.experiment import run as run_stacks
    from coordkit.models import BudgetReached, ModelProblem, NotInCache

    counts = [0, 0]
    try:
        with _progress(settings.case) as show:

            def progress(done: int, total: int) -> None:
                counts[:] = done, total
                show(done, total)

            table, folder = run_stacks(settings, stacks, runs, workers, progress, chat)
    except (KeyboardInterrupt, ModelProblem) as stopped:
        if not counts[1]:
            raise
        said = [str(stopped) or "stopped"]
        if not isinstance(stopped, NotInCache):  # a replay of nothing has kept nothing
            kept = f"{counts[0]:,} of {counts[1]:,} trials of {settings.case} are kept in {runs}"
            said.append(kept)
        if not isinstance(stopped, BudgetReached | NotInCache):  # they say how to go on
            said.append("the same command continues there")
        typer.echo(f"\ncoordkit: {'; '.join(said)}", err=True)
        raise typer.Exit(STOPPED if isinstance(stopped, KeyboardInterrupt) else OUR_ERROR) from None
    if chat:
        typer.echo(f"{settings.model}: {chat.meter}", err=True)
    return table, folder


@contextmanager
def _progress(case: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of trials done and in all; where there is no terminal, a line now and then."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    told, console = time.monotonic(), _console(True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("trials, left:"), TimeLeft())  # fmt: skip
    with Progress(*columns, console=console, transient=True, speed_estimate_period=600,
                  disable=not console.is_terminal) as bar:  # fmt: skip
        line = bar.add_task(case, total=None)

        def show(done: int, total: int) -> None:
            nonlocal told
            if bar.tasks[line].total is None:  # an earlier run's part says nothing of the speed
                bar.reset(line, total=total, completed=done)
            bar.update(line, completed=done)
            if bar.disable and time.monotonic() - told >= EVERY:
                told = time.monotonic()
                typer.echo(f"{case}: {done:,} of {total:,} trials", err=True)

        yield show


def _console(err: bool = False) -> Any:
    from rich.console import Console

    console = Console(stderr=err, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=err, highlight=False, width=max(console.width, MIN_WIDTH))
    return console


def _show(summary: Summary) -> None:
    from coordkit.ladder import finding

    console = _console()
    console.print(_table(summary))
    console.print(finding(summary), markup=False, style="bold")


def _close(
    results: Sequence[tuple[Summary, pd.DataFrame]],
    folder: Path,
    json_file: Path | None,
    report: bool = True,
) -> None:
    """The legend, the report and the file of results, after the last table."""
    console = _console()
    compared = any(len(summary["rungs"]) > 1 for summary, _ in results)
    console.print(_LEGEND.format(_COMPARED if compared else ""), style="dim")
    if results[0][0]["rungs"][0]["cost_per_task_usd"] is None:
        console.print(_UNPRICED, style="dim")
    if report:
        from coordkit.report import write_report

        console.print(f"report: {write_report(results, folder)}", markup=False, soft_wrap=True)
    if json_file:
        summaries = [summary for summary, _ in results]
        data = summaries[0] if len(summaries) == 1 else summaries
        json_file.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        console.print(f"results: {json_file}", markup=False, soft_wrap=True)


_COMPARED = """change: against the rung above, in points of failure
rate, paired, with p of the exact McNemar test. knock-out: all six without the layer minus all six
(positive: it helps), and escalations without it. """
_LEGEND = """\
failure rate: Wilson 95 % interval beneath. {}Calls, tokens, USD: means per task; USD
counts tokens and 1.50 a review, a budget tokens only. The person is simulated with any model: they
know the right outcome of a task shown to them, and err at the rate set."""

_UNPRICED = "USD unknown: the price table lacks this model; give --price-in and --price-out."


def _table(summary: Summary) -> Any:
    from rich import box
    from rich.table import Table

    from coordkit.plots import names

    trials = summary["rungs"][0]["trials"] // summary["tasks"]
    title = (
        f"{summary['case']}: {summary['tasks']:,} tasks × {trials}, "
        f"{summary['model']} model, seed {summary['seed']}"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    heads = ["rung", "failure rate", "change", "p", "knock-out", "silent\nloud", "esca-\nlated",
             "calls\ntokens", "USD"]  # fmt: skip
    rows = [(n, *_cells(e)) for n, e in zip(names(summary), summary["rungs"], strict=True)]
    columns = [c for c in zip(heads, *rows, strict=True) if any(map(_visible, c[1:]))]
    for head, *_ in columns:
        table.add_column(head, justify="left" if head == "rung" else "right")
    for row in list(zip(*columns, strict=True))[1:]:
        table.add_row(*row)
    return table


def _visible(cell: str) -> str:
    return re.sub(r"\[/?dim\]", "", cell).strip()


def _shares_table(stacks: pd.DataFrame) -> Any:
    from rich import box
    from rich.table import Table

    from coordkit.attribution import outcomes, shapley_shares
    from coordkit.ladder import interval, points

    case = stacks["case"].iloc[0]
    title = f"{case}: failures removed by each layer, averaged over all orders (Shapley share)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("layer", "points", "95 % interval"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for layer, row in shapley_shares(outcomes(stacks, case)).iterrows():
        table.add_row(str(layer), points(row["share"]), interval(row["low"], row["high"]))
    return table


def _cells(entry: Entry) -> Iterator[str]:
    from coordkit.ladder import interval, p_text, percent, points, usd

    asked = entry["knockout_escalated"]
    missed = f"{percent(asked / entry['trials'])} esc." if asked is not None else ""
    span = interval(entry["ci_low"], entry["ci_high"], "")
    yield f"{percent(entry['failure_rate'])}\n[dim]{span}[/dim]"
    span = interval(entry["delta_ci_low"], entry["delta_ci_high"])
    yield f"{points(entry['delta'])}\n[dim]{span}[/dim]"
    yield p_text(entry["p_value"])
    yield f"{points(entry['knockout_delta'])}\n[dim]{missed}[/dim]"
    yield f"{entry['silent']}\n{entry['loud']}"
    yield percent(entry["escalated"] / entry["trials"])
    yield f"{entry['calls_per_task']:.1f}\n{entry['tokens_per_task']:,.0f}"
    yield usd(entry["cost_per_task_usd"])


if __name__ == "__main__":
    main()
