"""Commands that are killed at random moments, a thousand times. results/killed_at_random.json

    python -m benchmarks.chaos.random_kills [--share 1.0] [--seeds 0 1]

Training, resuming, exporting, downloading, labelling and serving get SIGKILL with all that they started: at a moment
drawn from the time that the command takes undisturbed, and every third time while something is half written. After each
kill nothing may be lost, half there under its own name, or another's file changed; and what is started again ends with
what the undisturbed command ends with, byte by byte. The commands are copies of one process (forked.py).
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from benchmarks.chaos.forked import POLL, Copy, import_all, start
from benchmarks.chaos.stories import (
    Downloading,
    Exporting,
    Labelling,
    Serving,
    Story,
    Training,
    contents,
    hidden,
    photographs,
)
from benchmarks.harness import save

# kills by story
PLANNED = {"training": 300, "exporting": 60, "downloading": 290, "labelling": 290, "serving": 60}
AIMED = 1 / 3  # of the kills, while something is half written
ENDS = 1 / 6  # of the starts, undisturbed to the end
PIECE, PAUSE = 1 << 15, 0.002  # bytes that the slow server sends at a time, and seconds between two
HANGS, DAY = 600.0, 86_400.0  # seconds
FOUND = "found.json"
COUNTED = ("kills", "while_writing", "ended", "refusals")
LONGEST = 6.0  # seconds in which what is timed by the clock is killed


def serve_slowly(content: bytes, port_file: Path) -> None:
    """In a copy: `content` over HTTP, by ranges too, a piece at a time."""

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            for i in range(first, len(content), PIECE):
                self.wfile.write(content[i : i + PIECE])
                time.sleep(PAUSE)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        port_file.with_suffix(".new").write_text(str(server.server_port))
        port_file.with_suffix(".new").rename(port_file)
        server.serve_forever()


@dataclass
class Tally:
    """What happened to a verb."""

    kills: int = 0
    while_writing: int = 0
    ended: int = 0
    refusals: int = 0
    losses: list[str] = field(default_factory=list)


@dataclass
class Killer:
    """Kills stories, and counts. user_files: the user's own, which nothing may change."""

    chance: random.Random
    user_files: Path
    tallies: dict[str, Tally] = field(default_factory=dict)
    left_behind: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.before = contents(self.user_files)

    def tally(self, verb: str) -> Tally:
        return self.tallies.setdefault(verb, Tally())

    def record(self, verb: str, loss: str) -> None:
        if not loss and contents(self.user_files) != self.before:
            loss, self.before = "a file of the user was changed", contents(self.user_files)
        if loss:
            self.tally(verb).losses.append(loss)
            print(f"LOSS, {verb}: {loss}", flush=True)

    def write(self, file: Path) -> None:
        """The figures so far."""
        found = {"tallies": {verb: asdict(one) for verb, one in self.tallies.items()}, "left": self.left_behind}
        file.write_text(json.dumps(found))

    def undisturbed(self, story: Story) -> None:
        """The first time, which is the one that all others are compared with."""
        modules = story.folder / "modules"
        copy = start(story.work(), story.output, story.errors, modules)
        story.wait(copy)
        story.longest = copy.took if story.by_processor else min(copy.seconds(), LONGEST)
        self.record(story.name, story.ending(copy))
        import_all(modules)
        story.renew()
        print(f"{story.name}: {story.longest:.2f} s undisturbed", flush=True)

    def end(self, story: Story) -> None:
        """Start it once more, let it end, and begin anew."""
        verb = story.verb()
        copy = start(story.work(), story.output, story.errors)
        story.wait(copy)
        if story.refused(copy):
            self.tally(verb).refusals += 1
            copy = start(story.work(), story.output, story.errors)
            story.wait(copy)
        self.finished(story, verb, copy)

    def finished(self, story: Story, verb: str, copy: Copy) -> None:
        self.tally(verb).ended += 1
        self.record(verb, story.ending(copy))
        self.left_behind[story.name] += len(story.writing() | hidden(story.folder))
        story.renew()

    def kill(self, story: Story) -> bool:
        """Start it and kill it; returns whether it was there to be killed."""
        verb, before = story.verb(), story.writing()
        aim = self.chance.randint(1, story.writes) if story.writes and self.chance.random() < AIMED else 0
        beyond = self.chance.uniform(0, self.chance.choice((0.003, 0.03, 0.3)))  # seconds after it was seen
        moment = self.chance.uniform(0, story.longest)
        copy = start(story.work(), story.output, story.errors)
        seen: set[Path] = set()
        while not copy.ended():
            seen |= (found := story.writing() - before)
            passed = copy.processor_seconds() if story.by_processor else copy.seconds()
            if len(seen) >= aim and found if aim else passed >= moment:
                time.sleep(beyond if aim else 0)
                break
            if copy.seconds() > HANGS:
                self.record(verb, f"it hangs: {story.said()}")
                break
            story.meanwhile(copy)
            time.sleep(POLL)
        if copy.ended():
            if story.refused(copy):
                self.tally(verb).refusals += 1
            else:
                self.finished(story, verb, copy)
            return False
        copy.kill()
        self.tally(verb).kills += 1
        self.tally(verb).while_writing += bool(story.writing() - before)
        self.record(verb, story.harm(copy))
        return True


def stories_of(folder: Path, photos: Path, url: str, content: bytes) -> tuple[dict[str, list[Story]], Training]:
    """The stories by their names; and the training whose bundle the others take."""
    bundle = Training(folder / "bundle", photos)
    images, run = [str(photos)] * 10, bundle.run
    made: list[Story] = [Training(folder / "training", photos)]
    made += [Exporting(folder / f"export-{form}", run, form) for form in ("torch", "onnx")]
    made += [Downloading(folder / "download", url, content, hashlib.sha256(content).hexdigest())]
    made += [Labelling(folder / f"labels-{as_json}", run, images, as_json) for as_json in (False, True)]
    return {name: [story for story in made if story.name == name] for name in PLANNED}, bundle


def killed(folder: Path, share: float, chance: random.Random) -> None:
    """All stories, drawn by chance, each killed `share` of its number of times; the figures are in FOUND."""
    torch.set_num_threads(1)
    folder.mkdir()
    user, content = folder / "user", chance.randbytes(4 << 20)
    photos = photographs(user / "photos")
    (user / "labels.csv").write_text("image,label\nmine.png,mine\n")
    slow = start(lambda: serve_slowly(content, folder / "port"), folder / "slow", folder / "slow")
    while not (folder / "port").exists():
        time.sleep(0.01)
    killer = Killer(chance, user)
    stories, bundle = stories_of(folder, photos, f"http://127.0.0.1:{(folder / 'port').read_text()}/w", content)
    copy = start(bundle.work(), bundle.output, bundle.errors)
    if copy.wait():
        raise RuntimeError(f"no training to take: see {bundle.errors}")
    stories["serving"] = [Serving(folder / f"serve-{kind}", bundle.run, kind) for kind in ("JPEG", "PNG", "AVIF")]
    for story in [one for each in stories.values() for one in each]:
        killer.undisturbed(story)
    order = [name for name, count in PLANNED.items() for _ in range(round(count * share))]
    chance.shuffle(order)
    for done, name in enumerate(order, 1):
        story = stories[name][done % len(stories[name])]
        while not killer.kill(story):
            pass
        if chance.random() < ENDS:
            killer.end(story)
        if done % 25 == 0:
            killer.write(folder / FOUND)
            print(f"{done} kills, {sum(len(one.losses) for one in killer.tallies.values())} losses", flush=True)
    for story in [one for each in stories.values() for one in each]:
        killer.end(story)
    slow.kill()
    killer.write(folder / FOUND)


def killed_by_jobs(folder: Path, share: float, seeds: list[int]) -> dict[str, Any]:
    """The figures of all jobs together, one for each seed, which run beside each other."""
    copies = []
    for seed in seeds:
        log, place = folder / f"{seed}.log", folder / str(seed)
        copies.append((start(partial(killed, place, share / len(seeds), random.Random(seed)), log, log), log))
        print(f"seed {seed}: {log}", flush=True)
    for copy, log in copies:
        if copy.wait(DAY, 1.0):
            raise RuntimeError(f"a job has failed: {log.read_text()[-2000:]}")
    return merged([folder / str(seed) / FOUND for seed in seeds])


def merged(files: list[Path]) -> dict[str, Any]:
    """The figures of several jobs as those of one."""
    found = [json.loads(file.read_text()) for file in files]
    verbs = list(dict.fromkeys(verb for one in found for verb in one["tallies"]))
    parts = {verb: [one["tallies"][verb] for one in found if verb in one["tallies"]] for verb in verbs}
    by_verb = {verb: {name: sum(row[name] for row in rows) for name in COUNTED} for verb, rows in parts.items()}
    losses = {verb: [loss for row in rows for loss in row["losses"]] for verb, rows in parts.items()}
    left = sum((Counter(one["left"]) for one in found), Counter[str]())
    totals = {name: sum(row[name] for row in by_verb.values()) for name in COUNTED}
    lost = sum(map(len, losses.values()))
    return {
        **totals,
        "lost": lost,
        "by_verb": by_verb,
        "losses": {verb: each for verb, each in losses.items() if each},
        "left_behind": dict(left),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=1.0, help="of the thousand kills")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one process for each")
    parser.add_argument("--dry", action="store_true", help="print, and write no result")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        found = killed_by_jobs(Path(name), given.share, given.seeds)
    measured = {
        "what": "commands killed at random moments with all that they started, and started again until they end; each "
        "end compared with that of an undisturbed command, byte by byte",
        "seeds": given.seeds,
        **found,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    if given.dry:
        print(measured)
    else:
        save("killed_at_random", measured)
    sys.exit(bool(measured["lost"]))


if __name__ == "__main__":
    main()
