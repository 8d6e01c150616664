"""From the flag ``--executor`` to an Executor."""

from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Executor
from orcinus.runs.executors.local import LOCAL


def open_executor(flag: str) -> Executor:
    """The Executor that ``flag`` means: ``local``, ``ray`` or ``ray:ADDRESS``.

    Raises:
        ConfigError: It means none, or there is no cluster at the address.
        MissingExtraError: Ray is not installed.
    """
    if flag == "local":
        return LOCAL
    name, _, address = flag.partition(":")
    if name != "ray":
        raise ConfigError(f"--executor is {flag!r}; it is 'local', 'ray' or 'ray:ADDRESS'")
    from orcinus.runs.executors.ray import RayExecutor

    return RayExecutor(address or None)
