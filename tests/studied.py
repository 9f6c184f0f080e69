"""Shared types of the study tests."""

from collections.abc import Callable

from skipway.study.engine.results import Result

Tiny = Callable[[str], Result]  # a study's name -> its result at scale tiny
