"""Addresses of remote files: which may be read, and how they are shown."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Annotated
from urllib.error import URLError

from pydantic import Field

from llm.config import Config
from llm.errors import CorpusError, DownloadError

# Two letters at least: C:// is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# Stores whose address names a bucket and no host, and what installs them. Most other protocols of fsspec (ftp, sftp,
# webhdfs, reference) connect to whatever host the pattern says, which would lead around `trusted_hosts`.
STORES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
# The context in which a config is written down with all that its addresses hold, for who fetches them.
WITH_SECRETS = "with secrets"
HOST = r"^([A-Za-z0-9._-]+|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$"


class RemoteAccess(Config):
    """What may be read from other machines."""

    trusted_hosts: tuple[Annotated[str, Field(pattern=HOST)], ...] = Field(
        (), description="hosts on your own network that may be read, over http too; names or addresses, without a port"
    )
    maximum_bytes: int = Field(50_000_000_000, ge=1, description="the largest remote file that is downloaded, in bytes")

    def trusts(self, host: str) -> bool:
        """Whether `host` is one of `trusted_hosts`, spelled as there but for case."""
        return host.lower() in {trusted.lower() for trusted in self.trusted_hosts}


def shown(url: str) -> str:
    """The address as it may be printed: without user and password, query and fragment."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in STORES:  # there, ? is a wildcard
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    # A password with a slash in it leaves no sound host before that slash, and the rest of it behind.
    if not re.fullmatch(r"([\w.-]*|\[[0-9A-Fa-f:.]+\])(:\d*)?", host):
        host, path = "***", ""
    return "".join(one for one in f"{scheme}://{host}{slash}{path}" if one.isprintable())


def is_remote(pattern: str) -> bool:
    """Whether `pattern` has a scheme, as in https://, s3:// or gs://, and so is no path on this machine.

    Raises CorpusError for file://.
    """
    scheme = scheme_of(pattern)
    if scheme == "file":
        raise CorpusError(f"{shown(pattern)}: file:// is not read", remedy="name the path itself, without file://")
    return scheme is not None


def scheme_of(pattern: str) -> str | None:
    """The scheme, "https" of "https://host/file", in lower case; None of a path."""
    found = _SCHEME.match(pattern)
    return found[1].lower() if found else None


@contextlib.contextmanager
def failures(where: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn what a client raises into DownloadError; those of object stores have a tree of errors each."""
    try:
        yield
    except FileNotFoundError:
        raise missing(where) from None
    except kinds as error:
        cause = error.reason if isinstance(error, URLError) else error
        # Clients name the addresses that they tried: of an endpoint or a proxy, with the login in it.
        said = re.sub(r"\w+://[^\s\"']+", lambda found: shown(found[0]), str(cause))
        said = "".join(one for one in said[:300] if one.isprintable())
        raise DownloadError(
            f"{where}: cannot be read ({type(cause).__name__}: {said})",
            remedy="check the network, the address and your right to read it, and run again",
        ) from None


def missing(where: str) -> CorpusError:
    """The error for an address behind which there is nothing."""
    return CorpusError(f"{where}: no such file", remedy="correct the address")
