"""Stream the rows of data sets on the Hugging Face hub, through the ``datasets`` library.

    hf:openai/gsm8k            hf:cais/mmlu/abstract_algebra@test            hf:owner/name@train

With HF_HUB_OFFLINE set, only data sets in the library's cache can be read.
"""

import logging
import re
from collections.abc import Iterator

from orcinus.core.errors import DataError, MissingExtraError
from orcinus.core.urls import reason
from orcinus.tasks.files.rows import Row

_ADDRESS = re.compile(
    r"hf:(?P<repo>[^/@\s]+/[^/@\s]+)(?:/(?P<subset>[^@\s]+))?(?:@(?P<split>\S+))?"
)


def read_hub(path: str) -> Iterator[Row]:
    """Yield the rows of a hub data set, one at a time.

    Raises:
        DataError: The address is malformed, or the data set cannot be opened.
        MissingExtraError: The ``datasets`` library is not installed.
    """
    match = _ADDRESS.fullmatch(path)
    if match is None:
        raise DataError(f"{path}: not an address of the form hf:owner/name/subset@split")
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("reading a Hugging Face data set", "hub") from error
    # The library retries six times in 23 seconds and logs each; one line at the end is enough.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    offline = datasets.config.HF_HUB_OFFLINE
    subset, stem = match["subset"], match["subset"] or match["repo"].split("/")[1]
    try:
        # Offline, only what an earlier load_dataset prepared can be read, and not as a stream.
        rows = datasets.load_dataset(
            match["repo"], subset, split=match["split"] or "train", streaming=not offline
        )
        for number, fields in enumerate(rows, 1):
            yield Row(where=f"{path}: row {number}", stem=stem, fields=fields)
    except Exception as error:
        raise DataError(
            f"{path}: cannot be read from the hub: {_explained(error, match['repo'], offline)}"
        ) from error


def _explained(error: Exception, repo: str, offline: bool) -> str:
    """Return the library's message, in the words of a recipe and with what to do."""
    text = reason(error)
    if "Config name is missing" in text:
        names = text.partition("[")[2].partition("]")[0]
        return f"it has several subsets; name one, hf:{repo}/SUBSET: {names}"
    if offline:
        return f"{text}; HF_HUB_OFFLINE is set: unset it, or put a local file in path:"
    if isinstance(error, ConnectionError):
        return f"{text}; is this machine online? path: also takes local files"
    return text
