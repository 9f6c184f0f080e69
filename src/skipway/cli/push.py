"""`skipway push`: a finished run on the hub."""

from typing import Annotated

import typer

from skipway.cli.options import JsonOption, console, print_json

LicenceOption = Annotated[
    str, typer.Option(metavar="NAME", help="Of the weights: the hub's name of a licence, as apache-2.0, or unknown.")
]
DataLicenceOption = Annotated[
    str, typer.Option(metavar="NAME", help="Of the data that they were trained on, likewise, or unknown.")
]
ReportOption = Annotated[
    bool, typer.Option("--with-report", help="Publish the report too, in which there are images of the data.")
]


def push(
    run: Annotated[str, typer.Argument(help="Folder of a finished run.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the hub, made if new.")],
    licence: LicenceOption,
    data_licence: DataLicenceOption,
    public: Annotated[bool, typer.Option("--public", help="A new repository that everybody sees.")] = False,
    revision: Annotated[str | None, typer.Option(metavar="BRANCH", help="A branch instead of main.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="NAME", help="A name for this version, as v1.0.")] = None,
    with_report: ReportOption = False,
    update: Annotated[bool, typer.Option("--update", help="Make it a new version of the run that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a finished run on the hub, with a model card: private unless --public, after `hf auth login`.

    The bundle and the figures of its epochs are published. Images are only in the report.

    Example: skipway push RUN ada/photos --licence apache-2.0 --data-licence unknown --tag v1
    """
    from dataclasses import asdict

    from skipway.commands.push import push as publish

    done = publish(run, repository, licence, data_licence, public, revision, tag, with_report, update)
    if as_json:
        print_json(asdict(done))
        return
    lines = [f"{done.place}: {', '.join(done.files)}; {done.megabytes:.1f} MB", done.url]
    for line in [*lines, f"use it with: skipway predict {done.place} IMAGES"]:
        console().print(line, soft_wrap=True, markup=False)
