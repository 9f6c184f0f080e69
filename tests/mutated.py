"""Files as they might be after damage, or after somebody changed them on purpose."""

import random
from collections.abc import Iterator


def damaged(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


def mutations(content: bytes, count: int, chance: random.Random) -> Iterator[bytes]:
    """Bytes flipped, cut out, doubled, put in; and, in JSON, values of other kinds."""
    kinds = [b"null", b"[]", b"{}", b'"x"', b"-1", b"1e999", b"NaN", b"true", b"9" * 30, b"[" * 3000]
    for _ in range(count):
        at = chance.randrange(len(content))
        many = chance.randrange(1, 40)
        yield chance.choice(
            [
                damaged(content, at),
                content[:at] + content[at + many :],
                content[:at] + content[at : at + many] * 2 + content[at + many :],
                content[:at] + chance.randbytes(many) + content[at:],
                with_value(content, chance, chance.choice(kinds)),
            ]
        )


def with_value(content: bytes, chance: random.Random, value: bytes) -> bytes:
    """JSON with the value after one of its colons replaced; cut there where it is no JSON."""
    colons = [i for i, byte in enumerate(content) if byte == ord(":")]
    at = chance.choice(colons) + 1 if colons else chance.randrange(len(content))
    after = next((i for i in range(at, len(content)) if content[i] in b",}\n"), len(content))
    return content[:at] + value + content[after:]
