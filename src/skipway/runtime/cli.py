"""The command `skipway-runtime`: predict with and serve an export. argparse, because it starts soonest."""

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from skipway.errors import SkipwayError, refuse_if
from skipway.tasks.presenter import Prediction

FAULT, UNREAD = 2, 1  # exit codes: of a user's mistake; when some images could not be read


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as for every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise SkipwayError(message)


def parser() -> Parser:
    """The options."""
    whole = Parser(prog="skipway-runtime", description="Predict with and serve exported networks, without torch.")
    whole.add_argument("--version", action="store_true", help="Print the version.")
    verbs = whole.add_subparsers(dest="verb", metavar="COMMAND", parser_class=Parser)
    predict = verbs.add_parser("predict", help="Labels, objects or label maps of images.")
    predict.add_argument("export", type=Path, help="Folder that `skipway export` wrote, in ONNX or OpenVINO.")
    predict.add_argument("images", nargs="+", help="Files, folders, patterns, or - for paths on standard input.")
    predict.add_argument("--top", type=int, default=5, help="Classes to print for each image.")
    predict.add_argument("--threshold", type=float, help="Least score of an object; default the network's own.")
    predict.add_argument("--json", action="store_true", help="One JSON object a line and image.")
    predict.add_argument("--csv", type=Path, help="Write the answers to this new file.")
    predict.add_argument("--threads", type=threads, default=0, help="To compute and decode with; default every core.")
    serve = verbs.add_parser("serve", help="The same over HTTP, with a web page.")
    serve.add_argument("export", type=Path, help="Folder that `skipway export` wrote, in ONNX or OpenVINO.")
    serve.add_argument("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for every one.")
    serve.add_argument("--port", type=port, default=8000, help="0: any that is free.")
    serve.add_argument("--workers", type=positive, default=1, help="Processes, each with its own network.")
    serve.add_argument("--api-key-file", type=Path, help="File whose first line requests must carry.")
    serve.add_argument("--threads", type=threads, default=0, help="To compute with; default every core.")
    serve.add_argument("--max-batch", type=positive, default=8, help="Images computed together.")
    serve.add_argument("--max-latency-ms", type=seconds, default=2000, help="Slower requests are refused with 429.")
    serve.add_argument("--grace", type=seconds, default=25, help="Seconds from SIGTERM to the end, at most.")
    return whole


def number(text: str, least: int) -> int:
    """A whole number of at least `least`. Raises ArgumentTypeError."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least}")
    return value


def positive(text: str) -> int:
    return number(text, 1)


def threads(text: str) -> int:
    return number(text, 0)


def port(text: str) -> int:
    value = number(text, 0)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: give one from 0 to 65535")
    return value


def seconds(text: str) -> float:
    """A number from 1. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1")
    return value


def predict(options: argparse.Namespace) -> int:
    """Print or write the predictions; the exit code."""
    from skipway.deploy.predict import writer
    from skipway.deploy.predict.image_paths import images_of
    from skipway.new_files import require_free
    from skipway.runtime.predictor import ExportPredictor

    refuse_if(options.json and options.csv is not None, "--json and --csv exclude each other", "give one of them")
    if options.csv is not None:
        require_free(options.csv, "--csv")
    images = images_of(options.images)
    predictor = ExportPredictor(options.export, options.threads)
    answers: Iterator[Prediction] = predictor.answers(images, options.top, options.threshold)
    present, classes = predictor.presenter, len(predictor.classes)
    if options.csv is not None:
        count = writer.write_csv(answers, present, options.csv, min(options.top, classes))
    elif options.json:
        count = writer.print_json_lines(answers, present)
    else:
        from skipway.reporting.console import LiteralConsole

        count = writer.print_table(answers, present, LiteralConsole(highlight=False))
    if count.unread:
        print(f"skipway-runtime: {count.unread} of {count.images} images could not be read", file=sys.stderr)
    return UNREAD if count.unread else 0


def serve(options: argparse.Namespace) -> int:
    """Serve until a signal."""
    from skipway.deploy.serve.access import LOOPBACK, key_in_shell, lines_about, read_key
    from skipway.deploy.serve.limits import Limits
    from skipway.deploy.serve.server import require_extra
    from skipway.deploy.serve.server import serve as run_server
    from skipway.runtime.predictor import available_cores

    require_extra("skipway-runtime")
    from skipway.runtime.serving import ExportSettings

    key, cores = read_key(options.api_key_file), available_cores()
    limits = Limits(latency=options.max_latency_ms / 1000, grace=options.grace, batch=options.max_batch)
    local = options.host in LOOPBACK and not key
    settings = ExportSettings(
        options.export, "cpu", "", options.threads or cores, cores, limits, key, local, eager=True
    )
    shown = key_in_shell(options.api_key_file, key)

    def say(address: str) -> None:
        print("\n".join(lines_about(options.export, address, options.host, shown)), flush=True)

    run_server(settings, options.host, options.port, options.workers, say)
    return 0


def run(arguments: Sequence[str]) -> int:
    """The exit code. Raises SkipwayError."""
    options = parser().parse_args(arguments)
    if options.version:
        from skipway import installed_version

        print(f"skipway-runtime {installed_version()}")
        return 0
    if options.verb is None:
        parser().print_help()
        return FAULT
    return {"predict": predict, "serve": serve}[options.verb](options)


def main() -> None:
    """Run the command line. A user's fault is one line on standard error and exit code 2."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's: as many threads decode as there are cores
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except SkipwayError as fault:
        print(f"skipway-runtime: {fault}", file=sys.stderr)
        code = FAULT
    except BrokenPipeError:  # as `head` ends a pipe; Python would write the rest again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = UNREAD
    sys.exit(code)
