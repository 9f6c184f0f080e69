"""The command line: one verb a function, each a few lines that call the package. Nothing heavy is imported before a
verb runs, so that `skipway --help` answers at once.
"""

import errno
import os
import sys
from typing import NoReturn

import typer

from skipway.cli.average import average
from skipway.cli.bench import bench
from skipway.cli.check import check
from skipway.cli.cross_validate import cross_validate
from skipway.cli.doctor import doctor
from skipway.cli.embed import embed
from skipway.cli.eval import evaluate
from skipway.cli.explain import explain
from skipway.cli.export import export
from skipway.cli.generate import generate
from skipway.cli.lr_find import lr_find
from skipway.cli.models import compare, list_, show
from skipway.cli.options import print_message
from skipway.cli.predict import predict
from skipway.cli.probe import probe
from skipway.cli.push import push
from skipway.cli.review import review
from skipway.cli.runs import runs
from skipway.cli.search import search
from skipway.cli.select import select
from skipway.cli.serve import serve
from skipway.cli.study import study_app
from skipway.cli.train import train
from skipway.cli.tune import tune
from skipway.cli.weights import weights_app
from skipway.errors import SkipwayError

app = typer.Typer(
    name="skipway",
    help="Residual networks, whole: train, evaluate and use them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(check)
app.command()(train)
app.command("lr-find")(lr_find)
app.command("cross-validate")(cross_validate)
app.command()(tune)
app.command()(average)
app.command("eval")(evaluate)
app.command()(predict)
app.command()(embed)
app.command()(search)
app.command()(probe)
app.command()(review)
app.command()(select)
app.command()(generate)
app.command()(export)
app.command()(bench)
app.command()(explain)
app.command()(serve)
app.command()(push)
app.command()(runs)
app.command("list")(list_)
app.command()(show)
app.command()(compare)
app.command()(doctor)
app.add_typer(weights_app, name="weights")
app.add_typer(study_app, name="study")

# of a full disk, a closed terminal, a closed pipe
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)

# typer re-exports only one leaf of the usage errors of the click that it carries; its parent is all of them.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line. A user's fault is one line on standard error and exit code 2, unless --debug is given."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(args=arguments, standalone_mode=False)
        if sys.stdout:
            sys.stdout.flush()
    except (SkipwayError, UsageError) as fault:
        if debug:
            raise
        text = fault.format_message() if isinstance(fault, UsageError) else str(fault)  # type: ignore[attr-defined]
        fail(text)
    except MemoryError:
        if debug:
            raise
        fail("memory is used up: close other programs, or ask for less at once, such as a smaller --batch")
    except OSError as fault:
        if debug or fault.errno not in UNWRITABLE:
            raise
        if fault.errno == errno.EPIPE:  # as `head` ends a pipe
            leave(1)
        fail(f"output cannot be written ({fault.strerror}): free some space, or send it elsewhere")
    sys.exit(code if isinstance(code, int) else 0)


def fail(text: str) -> NoReturn:
    """Print `text` as one line on standard error, and exit with code 2."""
    print_message(f"skipway: {' '.join(text.split())}")
    leave(2)


def leave(code: int) -> NoReturn:
    """Exit with `code`, also where standard output cannot be written: Python would try again, and print a traceback."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
