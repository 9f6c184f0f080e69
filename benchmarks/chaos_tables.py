"""What was tried and what happened, from results/chaos.json, as tables and rows of the documentation."""

from collections import Counter

from benchmarks.result_rows import result

PARTS = {"training": "trainings", "serving": "servers", "machines": "groups of machines"}
LONGEST = 200  # characters of a line that are shown


def chaos_table(part: str) -> str:
    """The cases of a part: what was tried, what happened, after how long, and what was printed."""
    lines = ["| what was tried | what happened | seconds | what was printed |", "|---|---|---|---|"]
    for row in result("chaos")[part]:
        said = row["line"].replace("|", "\\|").replace("`", "")
        said = f"`{said[:LONGEST]}`" if said else ""
        lines.append(f"| {row['case']} | {row['outcome']} | {row['seconds']:.0f} | {said} |")
    on = result("chaos")["hardware"]["device"]
    under = f"`python -m benchmarks.chaos` on {on}, beside other programs; seconds from the start of the case."
    return "\n".join([*lines, "", under, ""])


def chaos_rows() -> list[tuple[str, str, str]]:
    """What failed around trainings, servers and machines; kills at random moments; a server for ten minutes."""
    chaos, kills, soak = result("chaos"), result("killed_at_random"), result("serve_soak")
    every = [row for part in PARTS for row in chaos[part]]
    well = sum(row["outcome"] not in ("failed", "skipped") for row in every)
    counts = Counter({part: len(chaos[part]) for part in PARTS})
    tried = ", ".join(f"{counts[part]} of {name}" for part, name in PARTS.items())
    verbs = ", ".join(f"{verb} {row['kills']}" for verb, row in kills["by_verb"].items())
    return [
        (
            "Full disks, limits, lost data, signals, cut links: ended with equal weights, an answer or a line",
            f"{well} of {len(every)}",
            f"cases {tried}",
        ),
        (
            "Losses in commands killed at random moments",
            f"{kills['lost']} in {kills['kills']:,} kills",
            f"SIGKILL while {verbs}; {kills['while_writing']} of them while something was half written; started again "
            f"until they ended, {kills['ended']} times, each compared with the undisturbed command",
        ),
        (
            f"Server with {soak['most_connections']:,} connections for {soak['seconds'] / 60:.0f} min, 99 % of answers",
            f"{soak['p99_s']:.2f} s",
            f"{soak['answered']:,} mixed requests, bound {soak['bound_s']:.0f} s; {soak['undocumented_5xx']} "
            f"undocumented errors; memory {soak['memory_first_minute_mb']:.0f} MB in the first minute, "
            f"{soak['memory_last_minute_mb']:.0f} MB in the last",
        ),
    ]
