"""A console that shows text as it is: names of files and classes cannot format, or control the terminal."""

from contextlib import suppress
from typing import TextIO

from rich.console import Console, HighlighterType, JustifyMethod, OverflowMethod
from rich.style import Style
from rich.text import Text

from skipway.errors import printable


class LiteralConsole(Console):
    """Rich's console without markup and emoji codes in strings, whose control characters are shown as escapes.

    Rich renders every string through `render_str`, whether it is printed or a cell of a table.
    """

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: HighlighterType | None = None,
    ) -> Text:
        """`text` with its line breaks, whatever `emoji`, `markup` and `highlight` are."""
        shown = "\n".join(map(printable, text.split("\n")))
        return super().render_str(
            shown, style=style, justify=justify, overflow=overflow, emoji=False, markup=False, highlight=False
        )


class LastingOutput:
    """The text stream of a run that goes on where nothing can be written to it any more: on a full disk, or in a
    terminal that was closed."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.encoding = stream, stream.encoding

    def write(self, text: str) -> int:
        with suppress(OSError):
            return self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()
