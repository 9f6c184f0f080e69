"""Images as a data set, with or without annotations."""

from pathlib import Path

from skipway.commands.arguments import Folder, as_data
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.formats.unlabelled import is_unlabelled, open_unlabelled
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.errors import DataError


def open_images(data: Folder | Dataset, reading: ReadOptions = DEFAULT_READ_OPTIONS) -> Dataset:
    """A data set, or a folder of images without annotations as one without classes. Raises SkipwayError for neither."""
    named = as_data(data)
    if isinstance(named, Dataset):
        return named
    if reading == DEFAULT_READ_OPTIONS and Path(named).is_dir() and is_unlabelled(Path(named)):
        try:
            return open_dataset(named, reading)  # boxes or masks beside the images
        except DataError:
            return open_unlabelled(Path(named))
    return open_dataset(named, reading)
