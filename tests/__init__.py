"""The tests. A package, since a dependency of the tests installs one of the same name (torch-fidelity)."""
