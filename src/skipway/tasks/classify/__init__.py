"""Classification, one class an image; tagging shares its parts."""
