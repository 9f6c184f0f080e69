"""The command line: one verb a function, each a few lines that call the package. Nothing heavy is imported before a
verb runs, so that `skipway --help` answers at once.
"""

import sys

import typer

from skipway.cli.bench import bench
from skipway.cli.check import check
from skipway.cli.doctor import doctor
from skipway.cli.eval import evaluate
from skipway.cli.explain import explain
from skipway.cli.export import export
from skipway.cli.generate import generate
from skipway.cli.models import compare, list_, show
from skipway.cli.predict import predict
from skipway.cli.serve import serve
from skipway.cli.study import study_app
from skipway.cli.train import train
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
app.command("eval")(evaluate)
app.command()(predict)
app.command()(generate)
app.command()(export)
app.command()(bench)
app.command()(explain)
app.command()(serve)
app.command("list")(list_)
app.command()(show)
app.command()(compare)
app.command()(doctor)
app.add_typer(weights_app, name="weights")
app.add_typer(study_app, name="study")

# typer re-exports only one leaf of the usage errors of the click that it carries; its parent is all of them.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line. A user's fault is one line on standard error and exit code 2, unless --debug is given."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(args=arguments, standalone_mode=False)
    except (SkipwayError, UsageError) as fault:
        if debug:
            raise
        text = fault.format_message() if isinstance(fault, UsageError) else str(fault)  # type: ignore[attr-defined]
        print(f"skipway: {' '.join(text.split())}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
