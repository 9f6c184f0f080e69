"""What the tests of the command line share: the type of an answer, and what a refusal looks like."""

from collections.abc import Callable

Answer = tuple[int, str, str]  # exit code, standard output, standard error
Skipway = Callable[..., Answer]
BEFORE = ("checked ", "  ", "chosen: ", "because: ", "otherwise: ")  # lines that a training prints before it starts


def refused(answer: Answer, said: str, after_check: bool = False) -> None:
    """Exit code 2 and one line on standard error that says `said`; on standard output nothing, or what is said of
    the data."""
    code, out, err = answer
    assert code == 2, err
    assert all(after_check and line.startswith(BEFORE) for line in out.splitlines())
    assert err.startswith("skipway: ")
    assert err.count("\n") == 1
    assert said in err
