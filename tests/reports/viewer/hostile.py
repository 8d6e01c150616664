"""A teacher whose every answer tries to run in the reader's browser."""

from orcinus.core.types import Messages, Sampling
from orcinus.tasks.generators import short

SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"


def teacher(messages: Messages, sampling: Sampling) -> str:
    return f"{SCRIPT}</pre> {short.teacher(messages, sampling)}"
