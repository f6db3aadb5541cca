"""Which files are looked at for tests."""

from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Modules without an example in a docstring are not imported to look for one: a third of the time of collection."""
    module = collection_path.suffix == ".py" and "src" in collection_path.relative_to(Path(__file__).parent).parts
    return True if module and ">>> " not in collection_path.read_text(encoding="utf-8") else None
