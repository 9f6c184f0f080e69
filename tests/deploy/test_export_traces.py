"""What an export leaves: in the file, the card; in the process, nothing."""

import json
import logging
from pathlib import Path

import pytest

from skipway import bundle
from skipway.deploy.export.export import notes
from skipway.deploy.export.formats import quiet


def test_the_card_is_inside_the_file_too(run: Path) -> None:
    """So that a file that was moved alone still says what it takes and what it was trained on."""
    inside = notes(bundle.read_card(run))
    card = json.loads((run / "card.json").read_text())
    assert json.loads(inside["skipway_card"]) == card
    assert json.loads(inside["skipway_classes"]) == card["classes"]


def test_logging_is_as_before_an_export_whatever_happened() -> None:
    assert logging.root.manager.disable == logging.NOTSET
    with pytest.raises(ZeroDivisionError), quiet():
        assert logging.root.manager.disable == logging.WARNING
        raise ZeroDivisionError
    assert logging.root.manager.disable == logging.NOTSET
