"""`skipway doctor`: what this machine has, and what skipway uses of it."""

from skipway.cli.options import JsonOption, console, print_json


def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has and what skipway will use, and why; engines, once `predict` has measured them."""
    from skipway.commands import summary
    from skipway.deploy.engines.selection import doctor_rows

    rows = summary.machine_rows() + doctor_rows()
    if as_json:
        print_json(rows)
    else:
        summary.print_rows(rows, console())
