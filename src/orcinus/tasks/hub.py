"""Data sets of the Hugging Face hub, streamed through the ``datasets`` library.

hf:openai/gsm8k            hf:cais/mmlu/abstract_algebra@test            hf:owner/name@train
"""

import re
from collections.abc import Iterator

from orcinus.errors import DataError, MissingExtraError
from orcinus.tasks.rows import Row

_ADDRESS = re.compile(r"hf:(?P<repo>[^/@\s]+/[^/@\s]+)(?:/(?P<subset>[^@\s]+))?(?:@(?P<split>\S+))?")


def is_hub(path: str) -> bool:
    """Whether ``path`` names a data set of the hub and no file."""
    return path.startswith("hf:") and not path.startswith("hf://")


def read_hub(path: str) -> Iterator[Row]:
    """The rows of a hub data set, one at a time.

    Raises:
        DataError: The address is not well formed, or the data set cannot be opened.
        MissingExtraError: The ``datasets`` library is not installed.
    """
    match = _ADDRESS.fullmatch(path)
    if match is None:
        raise DataError(f"{path}: not an address of the form hf:owner/name/subset@split")
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("reading a Hugging Face data set", "hub") from error
    try:
        rows = datasets.load_dataset(match["repo"], match["subset"], split=match["split"] or "train", streaming=True)
        for number, fields in enumerate(rows, 1):
            yield Row(where=f"{path}: row {number}", stem=match["subset"] or match["repo"].split("/")[1], fields=fields)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{path}: cannot be read from the hub: {' '.join(str(error).split())[:300]}") from error
