"""What the tests of studies share."""

from collections.abc import Callable

from skipway.study.results import Result

Tiny = Callable[[str], Result]  # a study's name -> its result at scale tiny
