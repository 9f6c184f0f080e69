"""Side by side with what a user would pick instead. Each module writes one JSON to results/."""
