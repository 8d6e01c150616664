"""A teacher whose answers try to run scripts in the reader's browser."""

from orcinus.core.types import Messages, Sampling
from orcinus.pipeline import demo

SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"


def teacher(messages: Messages, sampling: Sampling) -> str:
    return f"{SCRIPT}</pre> {demo.teacher(messages, sampling)}"
