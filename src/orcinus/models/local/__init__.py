"""Models on this machine: in this process, behind their own server, or copied on a Ray cluster."""

from collections.abc import Callable

from orcinus.core.protocols import Completer
from orcinus.models.local.config import LocalConfig


def open_local(
    config: LocalConfig, device: str, note: Callable[[str], None] | None = None
) -> Completer:
    """Return the model in this process, or behind a server if ``config.server`` says so.

    Args:
        config: The model, its paths resolved.
        device: ``cpu``, ``cuda``, ``cuda:1`` … or ``auto``.
        note: Gets one line if the model is decoded in a slower way than others.
    """
    from orcinus.models.local.server_process import ServerProcess, server_command

    command = server_command(config, device)
    if command is not None:
        return ServerProcess(config, command)
    from orcinus.models.local.huggingface import LocalModel

    return LocalModel(config, device=device, note=note)
