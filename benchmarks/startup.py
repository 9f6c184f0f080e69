"""Processor seconds of `skipway --help` and `import skipway`, and whether either imports torch. results/startup.json

python -m benchmarks.startup
"""

import resource
import statistics
import subprocess
import sys

from benchmarks.harness import save

COMMANDS = {"skipway --help": ["-m", "skipway", "--help"], "import skipway": ["-c", "import skipway"]}
WITH_TORCH = "import sys; {}; sys.exit('torch' in sys.modules)"


def processor_seconds(arguments: list[str]) -> float:
    """User and system time of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    measured = {}
    for name, arguments in COMMANDS.items():
        times = [processor_seconds(arguments) for _ in range(9)]
        measured[name] = {"median_s": round(statistics.median(times), 4), "all_s": [round(t, 4) for t in times]}
    for name, code in (("import skipway", "import skipway"), ("skipway --help", "import skipway.cli")):
        finished = subprocess.run([sys.executable, "-c", WITH_TORCH.format(code)], check=False)
        measured[name]["imports_torch"] = bool(finished.returncode)
    save("startup", {"what": "processor seconds of a fresh process, median of 9", "commands": measured})


if __name__ == "__main__":
    main()
