"""Loads a service by its name on a command line: `dice`, `dice.service` or `dice.service:service`.

`parley run`, `routes` and `asyncapi` call it. Whatever goes wrong becomes one line that names the place in the
adopter's own code, because that is where the mistake is.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from parley.framework.service import Service

ATTRIBUTE = "service"


class ServiceNotFound(ValueError):
    """No service could be loaded by this name. The text says what was looked for, where, and what is wrong there."""


def load_service(target: str) -> Service[Any]:
    """Return the service that `module:attribute` names. Without an attribute, `service` is looked for.

    It is looked for in the module and, in a package, in its submodule `service`. The working directory is searched
    first. Raises `ServiceNotFound`.
    """
    name, colon, attribute = target.partition(":")
    if not all(part.isidentifier() for part in name.split(".")) or (colon and not attribute.isidentifier()):
        raise ServiceNotFound(
            f"{target!r} names no service: it is written module or module:attribute, as in dice.service"
        )
    directory = search_working_directory()
    importlib.invalidate_caches()
    module = _import(name)
    if module is None:
        raise ServiceNotFound(f"there is no module {name} in {directory} or among the installed packages")
    found = getattr(module, attribute or ATTRIBUTE, None)
    if colon:
        if not hasattr(module, attribute):
            raise ServiceNotFound(f"{name} ({_place(module)}) has no attribute {attribute}")
        return _checked(found, target)
    # A package has its submodules as attributes once they were imported, so `found` may be `dice.service`, the module.
    if found is not None and not isinstance(found, ModuleType):
        return _checked(found, f"{name}:{ATTRIBUTE}")
    below = _import(f"{name}.{ATTRIBUTE}") if hasattr(module, "__path__") else None
    if below is None:
        without = f", and there is no module {name}.{ATTRIBUTE}" if hasattr(module, "__path__") else ""
        raise ServiceNotFound(f"{name} ({_place(module)}) has no attribute {ATTRIBUTE}{without}")
    if not hasattr(below, ATTRIBUTE):
        raise ServiceNotFound(
            f"neither {name} ({_place(module)}) nor {below.__name__} ({_place(below)}) has an attribute {ATTRIBUTE}"
        )
    return _checked(getattr(below, ATTRIBUTE), f"{below.__name__}:{ATTRIBUTE}")


def search_working_directory() -> str:
    """Make Python search the working directory for modules first, as it does for scripts. Return the directory."""
    directory = str(Path.cwd())
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)
    return directory


def _import(name: str) -> ModuleType | None:
    """Import a module; None when there is none. Raises `ServiceNotFound` when the module itself fails."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module or a package above it is missing, and not something that the module imports.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        raise _failed(name, error) from error
    except Exception as error:
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> ServiceNotFound:
    if isinstance(error, SyntaxError):
        place, line = f"{error.filename}, line {error.lineno}", error.text
        said = error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        # The last line of the project's own code: frames below it are in libraries, those above in importlib.
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(Path.cwd()) and _is_own(frame.filename)]
        frame = (own or frames)[-1]
        place, line, said = f"{frame.filename}, line {frame.lineno}", frame.line, str(error)
    shown = f": {line.strip()}" if line and line.strip() else ""
    return ServiceNotFound(f"{name} cannot be imported, {type(error).__name__}: {said} ({place}{shown})")


def _is_own(filename: str) -> bool:
    """Whether a file is the project's own, and not of a package installed in a directory below it."""
    return "site-packages" not in Path(filename).parts and not filename.startswith(str(Path(__file__).parents[1]))


def _checked(found: Any, target: str) -> Service[Any]:
    if not isinstance(found, Service):
        raise ServiceNotFound(f"{target} is a {type(found).__name__}, not a Service of parley.framework")
    return found  # pyright: ignore[reportUnknownVariableType] - a state of any type


def _place(module: ModuleType) -> str:
    return module.__file__ or ", ".join(module.__path__)
