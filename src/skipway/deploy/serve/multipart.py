"""A multipart form (RFC 7578) into its parts, in memory."""

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from skipway.deploy.serve.limits import RefusedError


@dataclass
class Part:
    """A field of a form. `filename` is empty where none was sent."""

    name: str = ""
    filename: str = ""
    content: bytearray = field(default_factory=bytearray)


class Parts:
    """What the parser finds, piece by piece; at most `most` parts."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.found: list[Part] = []
        self.whole = False
        self.header = (bytearray(), bytearray())

    def begin(self) -> None:
        if len(self.found) == self.most:
            raise RefusedError(400, f"the form has more than {self.most} parts, which is as many as are allowed")
        self.found.append(Part())

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self.header[0].extend(data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.header[1].extend(data[start:end])

    def header_end(self) -> None:
        name, value = (bytes(text) for text in self.header)
        self.header = (bytearray(), bytearray())
        if name.lower() == b"content-disposition":
            options = parse_options_header(value)[1]
            self.found[-1].name = text_of(options.get(b"name", b""))
            self.found[-1].filename = text_of(options.get(b"filename", b""))

    def content(self, data: bytes, start: int, end: int) -> None:
        self.found[-1].content.extend(data[start:end])

    def end(self) -> None:
        self.whole = True


def text_of(data: bytes) -> str:
    """A field's name or a file's, which browsers send in UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def parse(kind: str, body: bytes, most: int) -> list[Part]:
    """The parts of `body`, whose Content-Type is `kind`. Raises RefusedError (400) when it is no whole form."""
    parts = Parts(most)
    try:
        boundary = parse_options_header(kind)[1].get(b"boundary", b"")
        if not boundary:
            raise FormParserError("its boundary is missing")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header_name,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_part_data": parts.content,
                "on_end": parts.end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as fault:
        raise RefusedError(400, f"the form cannot be read ({fault})") from None
    if not parts.whole:
        raise RefusedError(400, "the form cannot be read (it ends before its last boundary)")
    return parts.found
