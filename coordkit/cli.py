"""The command line: ladder, run, stacks, trace, data, columns, serve, check.

What takes long to import is imported in the commands, so that ``coordkit --help`` is quick.
"""

from __future__ import annotations

import difflib
import inspect
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_type_hints

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from coordkit.layers import LAYERS
from coordkit.prices import Prices

if TYPE_CHECKING:
    import pandas as pd

    from coordkit.experiment import Settings
    from coordkit.ladder import Entry, Summary
    from coordkit.models import MeteredChatModel
    from coordkit.stack import Stack

OUR_ERROR, STOPPED = 2, 130
USAGE_ERROR: Any = typer.BadParameter.__base__  # click's, or that of the click in typer


class _Commands(TyperGroup):
    """Tells of what a user can mend in one line: no box, no traceback."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        try:
            sys.exit(super().main(*args, **{**extra, "standalone_mode": False}))
        except USAGE_ERROR as error:
            if message := " ".join(error.format_message().split()):  # empty: the help was asked for
                where = error.ctx.command_path if error.ctx else "coordkit"
                typer.echo(f"coordkit: {message.rstrip('.?')}; see {where} --help", err=True)
            sys.exit(OUR_ERROR)
        except BrokenPipeError:  # head has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
            sys.exit(1)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, USAGE_ERROR, BrokenPipeError):
            raise
        except (KeyboardInterrupt, typer.Abort):  # or the end of input at a question
            typer.echo("\ncoordkit: stopped", err=True)
            raise typer.Exit(STOPPED) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"{where}{error.strerror or error}")
        except Exception as error:
            from coordkit.cases import CaseFailed, UnknownCase
            from coordkit.data.files import DataError
            from coordkit.models import ModelProblem

            if not isinstance(error, CaseFailed | DataError | ModelProblem | UnknownCase):
                raise
            _fail(str(error))


def _fail(message: str) -> NoReturn:
    typer.echo(f"coordkit: {message}", err=True)
    raise typer.Exit(OUR_ERROR)


app = typer.Typer(
    cls=_Commands,
    help="Measure what six coordination layers do to the failure rate of LLM agents.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

MAX_TASKS = 200_000
MIN_WIDTH = 100  # of tables, where the output is no terminal
EVERY = 30.0  # seconds between lines of progress, where the output is no terminal
FEW = 30  # tasks; a bootstrap of fewer tells less than its interval says

_fraction = partial(typer.Option, min=0, max=1)
CaseArgument = Annotated[
    str, typer.Argument(metavar="CASE", help="billing, support, or module:factory.")
]
CaseArguments = Annotated[
    list[str],
    typer.Argument(metavar="CASE...", help="billing, support or both; or module:factory."),
]
Layers = Annotated[
    str, typer.Option(metavar="LIST", help=f"full, none, or some of {', '.join(LAYERS)}.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the simulated model's dice.")]
Reliability = Annotated[float, _fraction(help="Probability that one step's answer is right.")]
Correlation = Annotated[
    float, _fraction(help="Correlation of repeated attempts at one step of one task.")
]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="A folder with your own tables.")]
Runs = Annotated[Path, typer.Option(metavar="DIR", help="Folder for trials and reports.")]
Processes = Annotated[
    int | None, typer.Option(min=1, show_default="one per core", help="Worker processes.")
]


@dataclass(frozen=True)
class TrialOptions:
    """What determines a trial: the options that ladder, run and trace have in common."""

    tasks: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_TASKS, show_default="all of the sample's 2,000",
            help="Number of tasks; more than the sample has are generated.",
        ),
    ] = None  # fmt: skip
    seed: Seed = 0
    reliability: Reliability = 0.96
    correlation: Correlation = 0.32
    reviewer_accuracy: Annotated[
        float, _fraction(help="Probability that a fresh reviewer decides rightly.")
    ] = 0.95
    data: Data = None
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="simulated; openai:NAME for any endpoint of that interface (OPENAI_API_KEY, "
            "OPENAI_BASE_URL); or provider:NAME, as LangChain's init_chat_model has it.",
        ),
    ] = "simulated"
    budget_usd: Annotated[
        float | None, typer.Option(min=0, help="Stop before the calls of this command cost more.")
    ] = None
    price_in: Annotated[
        float | None, typer.Option(min=0, help="USD per million tokens sent, not the list's.")
    ] = None
    price_out: Annotated[
        float | None, typer.Option(min=0, help="The same for tokens received.")
    ] = None
    replay: Annotated[
        bool, typer.Option("--replay", help="Answer from the responses kept: no key, no network.")
    ] = False
    yes: Annotated[bool, typer.Option("--yes", help="Spend money without asking first.")] = False
    runs: Runs = Path("runs")

    @property
    def prices(self) -> Prices | None:
        """The prices that were given, None if none were."""
        if (self.price_in is None) != (self.price_out is None):
            _fail("--price-in and --price-out belong together; give both, USD per million tokens")
        return None if self.price_in is None else Prices(self.price_in, self.price_out)


@dataclass(frozen=True)
class RunOptions(TrialOptions):
    """What ladder and run have besides."""

    trials: Annotated[int, typer.Option(min=1, max=1000, help="Independent trials per task.")] = 1
    processes: Processes = None
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="Requests under way at a time to a real model.")
    ] = 4
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the results there too.")
    ] = None


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Show typer each field of a command's parameter ``options``, a dataclass, as an option."""
    own = dict(inspect.signature(command, eval_str=True).parameters)
    kind = own.pop("options").annotation
    hints = get_type_hints(kind, include_extras=True)

    @wraps(command)
    def called(**given: Any) -> None:
        options = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(options=options, **given)

    shared = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default,
                          annotation=hints[f.name])
        for f in fields(kind)
    ]  # fmt: skip
    called.__signature__ = inspect.Signature([*own.values(), *shared])  # type: ignore[attr-defined]
    return called


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
@_with_options
def ladder(
    cases: CaseArguments,
    options: RunOptions,
    rungs: Annotated[str, typer.Option(metavar="LIST", help="Like 0-6, 3 or 0,3,5.")] = "0-6",
    no_knockouts: Annotated[
        bool, typer.Option("--no-knockouts", help="Do not measure each layer's absence.")
    ] = False,
) -> None:
    """Climb the ladder of layers and print the failure rate at every rung.

    Rung 0 is a bare model, rung k has layers 1 to k. Each layer is also knocked out of all six.
    The same command continues what was interrupted.
    """
    chosen = _rungs(rungs)
    from coordkit.experiment import ladder_stacks
    from coordkit.ladder import summarise

    stacks = ladder_stacks(chosen, not no_knockouts)
    _measure_cases(cases, stacks, options, partial(summarise, rungs=chosen))


@app.command()
@_with_options
def run(case: CaseArgument, options: RunOptions, layers: Layers = "full") -> None:
    """Measure one stack: any subset of the layers."""
    stack = _stack(layers)
    from coordkit.ladder import summarise_stack

    summarised = partial(summarise_stack, stack=stack)
    _measure_cases([case], [stack], options, summarised, report=False)


@app.command()
def stacks(
    cases: CaseArguments,
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
    from coordkit.attribution import all_stacks, stack_rows, write_stacks

    options = RunOptions(tasks=tasks, seed=seed, data=data, processes=processes, runs=runs)
    plans = _plans(cases, options)
    _check_targets("--csv", csv_file, runs)
    tables = [stack_rows(_measure(s, all_stacks(), options)[0], s) for s in plans]
    for table in tables:
        _console().print(_shares_table(table))
        if (few := table["tasks"].iloc[0]) < FEW:
            what = f"{few} tasks are too few for these intervals; they are too narrow"
            typer.echo(f"coordkit: {what}; take {FEW} or more", err=True)
    if csv_file:
        write_stacks(tables, csv_file)
        typer.echo(f"stacks: {csv_file}")


@app.command()
@_with_options
def trace(
    case: CaseArgument,
    options: TrialOptions,
    task_id: Annotated[
        str, typer.Argument(metavar="TASK_ID", help="A task; without it the ids are listed.")
    ] = "",
    layers: Layers = "full",
    trial: Annotated[int, typer.Option(min=0, help="Which trial of the task, from 0.")] = 0,
) -> None:
    """Tell one trial step by step: what each agent saw and said, and why it failed.

    Give the options that a ladder was run with, and it is the same trial.
    """
    stack = _stack(layers)
    settings = _settings(case, options, trial + 1)
    from coordkit.cases import blaming
    from coordkit.experiment import case_of, make_bench
    from coordkit.trace import tell

    known = {task.id: task for task in case_of(settings).tasks}
    if not task_id:
        typer.echo("\n".join(known))
    elif task_id not in known:
        _fail(_unknown_task(case, task_id, list(known)))
    else:
        chat = _chat(options, [replace(settings, tasks=1, trials=1)], [stack])
        with blaming(case):
            told = tell(make_bench(settings, stack, chat), known[task_id], trial)
        _console().print(told, markup=False, soft_wrap=True)


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
    reliability: Reliability = TrialOptions.reliability,
    correlation: Correlation = TrialOptions.correlation,
    seed: Seed = 0,
    modes: Annotated[
        list[str] | None,
        typer.Option("--mode", metavar="MODE=WEIGHT", help="Only these modes of fault, so often."),
    ] = None,
    stall: Annotated[
        float, typer.Option(min=0, help="Seconds that a simulated time-out takes.")
    ] = 30.0,
) -> None:
    """Serve the simulated model to any agent, as an OpenAI-compatible endpoint.

    With --upstream, requests go on to a real model, and the same faults are put in front of it.
    If COORDKIT_SERVE_TOKEN is set, callers must send it as their API key; then the key for the
    upstream is read from OPENAI_API_KEY. Otherwise the callers' own goes on to it.

    A request that is sent again under its Idempotency-Key, as coordkit's own are, gets the reply
    of before and is not paid again, also with --upstream; a run with another --seed asks afresh.
    The simulated model ignores temperature, max_tokens and stop; n greater than 1 is a 400. It has
    sense only for the prompts of the kit's two cases: others get an answer of the right form with
    made-up content, enough to try an agent's handling of faults. For sense, use --upstream. To see
    faults soon: --reliability 0.5 --mode rate_limited=1 --mode malformed_json=1.
    """
    mix = _mix(modes or [])
    import coordkit.serve as endpoint
    from coordkit.faults import Simulation

    def announce(served: endpoint.Served) -> None:
        what = f"the faults in front of {upstream}" if upstream else "the simulated model"
        typer.echo(f"coordkit: {what} at {served.url}; metrics at {served.metrics_url}")
        typer.echo("coordkit: Ctrl-C stops it")

    token = os.environ.get("COORDKIT_SERVE_TOKEN", "")
    try:
        simulation = Simulation(reliability, correlation, seed=seed, mix=mix)
        options = endpoint.Options(simulation, upstream, token, stall)
        endpoint.serve(options, host, port, announce=announce)
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


def _kit_case(name: str) -> str:
    from coordkit.data.sample import CASES

    if name not in CASES:
        _fail(f"unknown case '{name}'; choose from {', '.join(CASES)}")
    return name


def _mix(modes: Sequence[str]) -> dict[str, float]:
    """Weights of fault modes from texts such as rate_limited=1."""
    from coordkit.faults import default_mix

    known, mix = default_mix(), {}
    for text in modes:
        mode, _, weight = text.partition("=")
        if mode not in known or not re.fullmatch(r"\d+(\.\d+)?", weight):
            right = f"write it like rate_limited=1; modes: {', '.join(known)}"
            _fail(f"--mode cannot be '{text}'; {right}")
        mix[mode] = float(weight)
    return mix or known


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


def _plans(cases: Sequence[str], options: RunOptions) -> list[Settings]:
    """The settings for each case."""
    if options.data and len(set(cases)) > 1:
        _fail("--data holds the tables of one case; name one case")
    return [_settings(case, options, options.trials) for case in dict.fromkeys(cases)]


def _settings(case: str, options: TrialOptions, trials: int) -> Settings:
    """Settings whose case could be loaded: what is wrong with the data comes out here."""
    from coordkit.experiment import Settings, case_of
    from coordkit.faults import Simulation

    if ":" in case:  # one's own is looked for in this folder too; worker processes take it over
        sys.path.insert(0, str(Path.cwd()))
    settings = Settings(
        case,
        options.tasks,
        trials,
        str(options.data or ""),
        Simulation(options.reliability, options.correlation, seed=options.seed),
        reviewer_accuracy=options.reviewer_accuracy,
        prices=options.prices or Prices(),
    )
    found = case_of(settings)
    if options.tasks and len(found.tasks) < options.tasks:
        few = f"there are {len(found.tasks):,} tasks, not {options.tasks:,}"
        typer.echo(f"coordkit: {few}", err=True)
    if found.left_out:
        what = f"{found.left_out:,} tasks have no labels and are left out"
        typer.echo(f"coordkit: {what}; coordkit columns {options.data} {case}", err=True)
    return settings


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
    options: TrialOptions, plans: Sequence[Settings], stacks: Sequence[Stack]
) -> MeteredChatModel | None:
    """The real model that was asked for, ready and its cost agreed to; None for the simulated."""
    if options.model == "simulated":
        if options.budget_usd is not None or options.replay:
            _fail("--budget-usd and --replay are for a real model: name it with --model")
        return None
    from coordkit.models import MeteredChatModel, make

    chat = make(
        options.model, cache=options.runs / "responses.sqlite", prices=options.prices,
        budget=options.budget_usd, replay=options.replay, sample=options.seed,
    )  # fmt: skip
    assert isinstance(chat, MeteredChatModel)
    if not options.replay:
        _agree(plans, stacks, chat, options.yes)
    chat.check()  # not before: it sends requests
    return chat


def _agree(
    plans: Sequence[Settings], stacks: Sequence[Stack], chat: MeteredChatModel, yes: bool
) -> None:
    """Say what a run on a real model will cost and send where, and ask whether to go on."""
    from coordkit.estimate import estimate

    cost = 0.0
    for settings in plans:
        typer.echo(f"{settings.case}: counting on the simulated model …", err=True)
        planned = estimate(settings, stacks, chat)
        typer.echo(f"{settings.case}: {planned}", err=True)
        cost += planned.usd or 0.0
    if chat.meter.budget is not None and cost > chat.meter.budget:
        what = f"that is more than the budget of {chat.meter.budget:g} USD"
        typer.echo(f"coordkit: {what}: the run will stop before its end", err=True)
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


# --- running and showing -------------------------------------------------------------------------


def _measure_cases(
    cases: Sequence[str],
    stacks: Sequence[Stack],
    options: RunOptions,
    summarised: Callable[[pd.DataFrame, Settings], Summary],
    report: bool = True,
) -> None:
    """Measure stacks on each case, and show each as soon as it is measured."""
    from coordkit.experiment import with_model
    from coordkit.ladder import finding

    plans = _plans(cases, options)
    _check_targets("--json", options.json_file, options.runs)
    chat = _chat(options, plans, stacks)
    console, results = _console(), []
    for plan in plans:
        settings = with_model(plan, chat) if chat else plan
        table, folder = _measure(settings, stacks, options, chat)
        summary = summarised(table, settings)
        results.append((summary, table))
        console.print(_table(summary))
        console.print(finding(summary), markup=False, style="bold")
    _close(results, folder if len(plans) == 1 else options.runs, options.json_file, report)


def _measure(
    settings: Settings,
    stacks: Sequence[Stack],
    options: RunOptions,
    chat: MeteredChatModel | None = None,
) -> tuple[pd.DataFrame, Path]:
    """Run stacks, and say on the way how far they are."""
    from coordkit.experiment import run as run_stacks
    from coordkit.models import BudgetReached, ModelProblem, NotInCache

    workers = options.concurrency if chat else options.processes
    bar = _Progress(settings.case)
    try:
        with bar:
            table, folder = run_stacks(settings, stacks, options.runs, workers, bar.show, chat)
    except (KeyboardInterrupt, ModelProblem) as stopped:
        if not bar.total:
            raise
        said = [str(stopped) or "stopped"]
        if bar.done or not isinstance(stopped, NotInCache):  # a replay may have nothing to keep
            trials = f"{bar.done:,} of {bar.total:,} trials of {settings.case}"
            said.append(f"{trials} are kept in {options.runs}")
        if not isinstance(stopped, BudgetReached | NotInCache):  # they say how to go on
            said.append("the same command continues there")
        typer.echo(f"\ncoordkit: {'; '.join(said)}", err=True)
        raise typer.Exit(STOPPED if isinstance(stopped, KeyboardInterrupt) else OUR_ERROR) from None
    if chat:
        typer.echo(f"{settings.model}: {chat.meter}", err=True)
    return table, folder


class _Progress(Progress):
    """A bar of trials done and in all; where there is no terminal, a line now and then."""

    def __init__(self, case: str) -> None:
        console, left = _console(err=True), TextColumn("trials, left:")
        super().__init__(
            TextColumn(case), BarColumn(), MofNCompleteColumn(), left, TimeRemainingColumn(),
            console=console, transient=True, speed_estimate_period=600,
            disable=not console.is_terminal,
        )  # fmt: skip
        self.case, self.told, self.done, self.total = case, time.monotonic(), 0, 0
        self.line = self.add_task("", total=None)

    def show(self, done: int, total: int) -> None:
        if not self.total:  # an earlier run's part says nothing of the speed
            self.reset(self.line, total=total, completed=done)
        self.done, self.total = done, total
        self.update(self.line, completed=done)
        if self.disable and time.monotonic() - self.told >= EVERY:
            self.told = time.monotonic()
            typer.echo(f"{self.case}: {done:,} of {total:,} trials", err=True)


def _console(err: bool = False) -> Console:
    console = Console(stderr=err, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, MIN_WIDTH)
    return console


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


_HEADS = ("rung", "failure rate", "change", "p", "knock-out", "silent\nloud", "esca-\nlated",
          "calls\ntokens", "USD")  # fmt: skip


def _table(summary: Summary) -> Table:
    from coordkit.plots import names

    trials = summary["rungs"][0]["trials"] // summary["tasks"]
    title = (
        f"{summary['case']}: {summary['tasks']:,} tasks × {trials}, "
        f"{summary['model']} model, seed {summary['seed']}"
    )
    rows = [(n, *_cells(e)) for n, e in zip(names(summary), summary["rungs"], strict=True)]
    columns = [
        (head, *cells)
        for head, *cells in zip(_HEADS, *rows, strict=True)
        if any(Text.from_markup(cell).plain.strip() for cell in cells)
    ]
    return _grid(title, *zip(*columns, strict=True), padding=(0, 1, 0, 0))


def _shares_table(stacks: pd.DataFrame) -> Table:
    from coordkit.attribution import outcomes, shapley_shares
    from coordkit.ladder import interval, points

    case = stacks["case"].iloc[0]
    title = f"{case}: failures removed by each layer, averaged over all orders (Shapley share)"
    shares = shapley_shares(outcomes(stacks, case))
    rows = [
        (str(layer), points(row["share"]), interval(row["low"], row["high"]))
        for layer, row in shares.iterrows()
    ]
    return _grid(title, ("layer", "points", "95 % interval"), *rows)


def _grid(title: str, heads: Sequence[str], *rows: Sequence[str], **look: Any) -> Table:
    """A table whose first column is to the left and the rest, figures, to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, **look)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
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
