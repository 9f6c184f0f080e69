"""Images in a zip archive, read one by one without unpacking it.

An archive is looked at before anything is read. Refused are encrypted entries, names that lead out of a folder,
archives in the archive, methods besides deflate, images of more than MAX_FILE_SIZE bytes, and those packed more than
MOST_PACKED times, which no photograph is. An entry is never written to a disk.
"""

import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from skipway.data.decode import MAX_FILE_SIZE, SUFFIXES
from skipway.data.heif import UNDECODABLE
from skipway.errors import DataError, first_line, printable

SUFFIX = ".zip"
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
MOST_ENTRIES = 5_000_000
MOST_PACKED, PACKED_FROM = 200, 1 << 20  # times, of entries with more bytes than these
ENCRYPTED = 0x1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile bounds what others decompress to at once by nothing
FAULTS = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError)


def is_zip(path: Path) -> bool:
    """Whether a path has the ending of an archive, and is a file."""
    return path.suffix.lower() == SUFFIX and path.is_file()


class ZipImages:
    """The images of an archive by name, in the order of the names. Usable in threads and, pickled, in other processes.

    Raises DataError, when it is made, for an archive that cannot be read, or holds what is refused.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock, self.owner = threading.Lock(), 0
        self.archive: zipfile.ZipFile | None = None
        with self.opened() as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ENTRIES:
                raise DataError(f"{file} has {len(entries):,} entries, and {MOST_ENTRIES:,} are allowed: split it")
            self.names = sorted(entry.filename for entry in entries if is_image(entry, file))

    def opened(self) -> zipfile.ZipFile:
        """Raises DataError."""
        try:
            return zipfile.ZipFile(self.file)
        except FAULTS as fault:
            raise DataError(
                f"{self.file} is not a zip archive that can be read ({first_line(fault)}): download or pack it again"
            ) from None

    def read(self, name: str) -> bytes:
        """The content of an entry. Raises DataError for damage."""
        with self.lock:
            if self.archive is None or self.owner != os.getpid():  # a fork shares the position in the file
                self.archive, self.owner = self.opened(), os.getpid()
            archive = self.archive
        try:
            entry = archive.getinfo(name)
            with archive.open(entry) as stream:
                return stream.read(entry.file_size)  # `archive.read` decompresses all that there is, whatever it says
        except (*FAULTS, KeyError) as fault:
            raise DataError(f"{self.file}/{name} cannot be read ({first_line(fault)}): pack it again") from None

    def __len__(self) -> int:
        return len(self.names)

    def __call__(self, index: int) -> bytes:
        """The content of the image at `index`."""
        return self.read(self.names[index])

    def __iter__(self) -> Iterator[tuple[str, bytes | DataError]]:
        """The name of each image, ARCHIVE/ENTRY, with its content, or with why it cannot be read."""
        for name in self.names:
            try:
                yield f"{self.file}/{name}", self.read(name)
            except DataError as fault:
                yield f"{self.file}/{name}", fault

    def __getstate__(self) -> dict[str, object]:
        return {"file": self.file, "names": self.names}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, lock=threading.Lock(), owner=0, archive=None)


def is_image(entry: zipfile.ZipInfo, file: Path) -> bool:
    """Whether an entry is an image, and no folder or hidden file. Raises DataError for what is refused."""
    name = PurePosixPath(entry.filename)
    hidden = any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.parts)
    if not name.parts or entry.is_dir() or hidden:
        return False
    shown = f"{file}: its entry {printable(entry.filename)[:200]}"
    if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in name.parts[0]:
        raise DataError(f"{shown} leads out of the archive: pack it again with plain names")
    ending = name.suffix.lower()
    if ending in ARCHIVES:
        raise DataError(f"{shown} is an archive in the archive: unpack it")
    if ending not in SUFFIXES | UNDECODABLE:
        return False
    if entry.flag_bits & ENCRYPTED:
        raise DataError(f"{shown} is encrypted: pack it again without a password")
    if entry.compress_type not in METHODS:
        raise DataError(f"{shown} is packed by another method than deflate: pack it again")
    if entry.file_size > MAX_FILE_SIZE:
        raise DataError(f"{shown} has {entry.file_size:,} bytes, above the limit of {MAX_FILE_SIZE:,}: make it smaller")
    if entry.file_size > PACKED_FROM and entry.file_size > MOST_PACKED * max(entry.compress_size, 1):
        times = entry.file_size // max(entry.compress_size, 1)
        raise DataError(f"{shown} is packed {times:,} times, which no photograph is: leave it out")
    return True


def entry_of(name: str) -> tuple[Path, str] | None:
    """The archive and the entry of the image called `name`, ARCHIVE/ENTRY; None for the name of any other image."""
    parts = Path(name).parts
    for i in range(1, len(parts)):
        if parts[i - 1].lower().endswith(SUFFIX) and is_zip(Path(*parts[:i])):
            return Path(*parts[:i]), "/".join(parts[i:])
    return None
