"""Models on the Hugging Face Hub: a repository with a model in one file, and its card. Needs the extra `hub`.

The library `huggingface_hub` does the talking: its environment variables (`HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_TOKEN`,
`HF_HOME`) hold here too.
"""

import contextlib
import importlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from diffwave_jax.errors import UserError, reason

SCHEME = "hf://"
MODEL, CARD = "model.safetensors", "README.md"


def is_address(name: str) -> bool:
    """Whether a model's name is that of a repository."""
    return name.startswith(SCHEME)


def fetch(address: str) -> Path:
    """The model's file of a repository, downloaded into the Hub's cache unless it is there.

    Without a connection, what is in the cache counts.

    Args:
      address: `hf://owner/name`, or `hf://owner/name@revision` for a branch, tag or commit.

    Raises:
      UserError: the extra is missing, there is no such repository or no model in it, or it cannot be reached.
    """
    hub = _library()
    name, _, revision = address.removeprefix(SCHEME).partition("@")
    with _explained(name):
        wanted = {"repo_id": _checked(name), "filename": MODEL, "revision": revision or None}
        kept = isinstance(hub.try_to_load_from_cache(**wanted), str)
        return Path(hub.hf_hub_download(**wanted, local_files_only=kept and not _reachable(hub.constants.ENDPOINT)))


def _reachable(endpoint: str) -> bool:
    """Whether somebody answers there: the library alone tries for ten seconds before it takes what it has."""
    if urllib.request.getproxies():
        return True  # by a way that is not known here
    address = urllib.parse.urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=2).close()
    except OSError:
        return False
    return True


def push(name: str, files: Mapping[str, Path | bytes], *, private: bool, message: str) -> str:
    """Puts files into a repository in one commit; makes the repository if need be.

    Args:
      name: `owner/name`, with or without `hf://`.
      files: {name in the repository: a file here, or its content}.
      private: of a repository that is made now.
      message: of the commit.

    Returns:
      The repository's page.

    Raises:
      UserError: the extra is missing, nobody is logged in or may write there, or it cannot be reached.
    """
    hub = _library()
    name = _checked(name.removeprefix(SCHEME))
    with _explained(name):
        api = hub.HfApi()
        page = api.create_repo(name, private=private, exist_ok=True)
        added = [hub.CommitOperationAdd(place, file) for place, file in files.items()]
        api.create_commit(name, added, commit_message=message)
    return str(page)


def _library() -> ModuleType:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(
            "models of the Hub need the package huggingface_hub: pip install 'diffwave_jax[hub]', "
            "or pip install huggingface_hub"
        ) from error


def _checked(name: str) -> str:
    owner, slash, rest = name.partition("/")
    if not (owner and slash and rest) or "/" in rest:
        raise UserError(f"{name!r} is no name of a model on the Hub: give owner/name")
    return name


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """A block that talks to the Hub about a repository; what goes wrong becomes one line."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(f"{name!r} is no name of a model on the Hub: give owner/name") from error
    except errors.GatedRepoError as error:
        raise UserError(f"{name} on the Hub asks its users to log in and agree first: open its page") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"no model {name} on the Hub, or a private one: check the name, or run hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{name} on the Hub has no such revision: give a branch, a tag or a commit of it") from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{name} is not in the Hub's cache, and the Hub cannot be reached: go online, "
            "or load a file or a folder that is here"
        ) from error
    except errors.EntryNotFoundError as error:
        raise UserError(f"{name} on the Hub has no {MODEL}: it is no model that push_to_hub made") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        hint = "log in by hf auth login, with a token that may write there" if status in (401, 403) else "try again"
        raise UserError(f"the Hub refused {name} ({reason(error)}): {hint}") from error
    except (OSError, RuntimeError, ValueError) as error:  # an upload that failed half-way is a RuntimeError
        raise UserError(f"talking to the Hub about {name} failed ({reason(error)}): try again") from error
