"""Open the executor that the flag ``--executor`` names."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from orcinus.core import registry
from orcinus.core.errors import ConfigError, StepError
from orcinus.core.protocols import Executor
from orcinus.runs.executors.local import LOCAL, LocalExecutor

A = TypeVar("A")
B = TypeVar("B")


def open_executor(flag: str) -> Executor:
    """Return the executor that a flag names.

    Args:
        flag: ``local``, ``local:WORKERS``, ``ray``, ``ray:ADDRESS``, a registered name or
            ``module:function``.

    Raises:
        ConfigError: There is none, it has another shape, or no cluster is at the address.
        MissingExtraError: Ray is not installed.
    """
    if flag == "local":
        return LOCAL
    name, _, address = flag.partition(":")
    if name == "local":
        if not (address.isdecimal() and int(address)):
            raise ConfigError(f"--executor is {flag!r}; after local: comes a number of workers")
        return LocalExecutor(int(address))
    if name == "ray":
        from orcinus.runs.executors.ray import RayExecutor

        return RayExecutor(address or None)
    if ":" not in flag and flag not in registry.names("executor", {}):
        raise ConfigError(
            f"--executor is {flag!r}; it is 'local', 'local:WORKERS', 'ray', 'ray:ADDRESS', a "
            "registered name or 'module:function'"
        )
    return FunctionExecutor(registry.find("executor", flag, {}), flag)


@dataclass(frozen=True, slots=True)
class FunctionExecutor:
    """The Executor of a function ``(fn, shards) -> Iterator``."""

    function: Callable[..., object]
    name: str

    def map(
        self,
        fn: Callable[[A], B],
        shards: Iterable[A],
        *,
        threaded: bool = False,
        processes: bool = False,
    ) -> Iterator[B]:
        """Yield ``fn`` of each shard; see ``Executor``.

        Raises:
            StepError: The function does not return an iterable.
        """
        results = self.function(fn, shards)
        if not isinstance(results, Iterable):
            raise StepError(
                f"executor {self.name!r} gives {results!r:.60}; an executor gives the results"
            )
        return iter(results)
