"""What the tests withstand and notice, as tables: hostile inputs by surface, mutants by room."""

from typing import Any

from benchmarks.result_rows import result


def rows() -> list[tuple[str, str, str]]:
    """For the table of all results."""
    surfaces, targets = result("fuzz")["surfaces"], result("fuzz_bytes")["targets"]
    rooms = result("mutants")["rooms"]
    inputs, failures = (sum(one[key] for one in surfaces) for key in ("inputs", "failures"))
    mutants, noticed, alike = (
        sum(room[key] for room in rooms.values()) for key in ("mutants", "noticed", "equivalent")
    )
    lowest = min(rooms, key=lambda name: rooms[name]["share"])
    return [
        (
            "Hostile inputs that are refused in one line, or used",
            f"{inputs - failures:,} of {inputs:,}",
            f"{len(surfaces)} surfaces, from cards to request bodies, at least "
            f"{min(one['inputs'] for one in surfaces):,} each; [by surface](testing.md)",
        ),
        (
            "Inputs of a fuzzer led by coverage, refused in one line or read",
            f"{sum(one['executions'] for one in targets):,}",
            f"{sum(one['failures'] for one in targets)} failures; {', '.join(one['target'] for one in targets)}; "
            f"{targets[0]['seconds']} s each",
        ),
        (
            "Faults of one token that the tests notice",
            f"{noticed} of {mutants - alike}",
            f"drawn over {len(rooms)} packages and modules, lowest share {rooms[lowest]['share']:.0%} ({lowest}); "
            f"{alike} more change nothing; [by room](testing.md)",
        ),
    ]


def surface_table() -> str:
    lines = [
        "| surface | inputs | used | refused in one line | failures | processor seconds |",
        "|---|---|---|---|---|---|",
    ]
    for one in result("fuzz")["surfaces"]:
        counts = [f"{one[key]:,}" for key in ("inputs", "accepted", "refused_in_one_line", "failures")]
        lines.append(f"| {one['surface']} | {' | '.join(counts)} | {one['processor_seconds']:.0f} |")
    return "\n".join(lines)


def room_table() -> str:
    lines = ["| room | mutants | noticed | change nothing | share noticed |", "|---|---|---|---|---|"]
    for name, room in result("mutants")["rooms"].items():
        counts = [str(room[key]) for key in ("mutants", "noticed", "equivalent")]
        lines.append(f"| `{name}` | {' | '.join(counts)} | {room['share']:.0%} |")
    return "\n".join(lines)


def as_code(text: str) -> str:
    """Source on one line, as code in a list."""
    return f"`{' '.join(text.split()).replace('`', '')}`"


def survivors() -> str:
    """Those that nobody noticed, and those that change nothing."""
    every: list[dict[str, Any]] = [one for room in result("mutants")["rooms"].values() for one in room["all"]]
    missed = [one for one in every if not one["noticed_by"]]
    lines = [
        f"- `{one['file']}:{one['line']}`: {as_code(one['before'])} became "
        f"{as_code(one['after']) if one['after'] else 'nothing'}; "
        + (f"changes nothing: {one['equivalent']}" if "equivalent" in one else "**noticed by no test**")
        for one in missed
    ]
    return "\n".join(lines or ["None."])


def page() -> str:
    """The tables of docs/testing.md."""
    measured = result("mutants")
    return "\n\n".join(
        [
            surface_table(),
            f"Seed {measured['seed']}, commit {measured['commit']}:",
            room_table(),
            "Not noticed:",
            survivors(),
            "",
        ]
    )
