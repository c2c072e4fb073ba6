"""The server's REST, by what `turnout env` (or a node, inside a run) sets.

Only the standard library is used here, so that a script can log to its run with any interpreter.
"""
from __future__ import annotations

import json
import os
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, Iterator, Optional

from azureml.exceptions import AuthenticationException, ProjectSystemException, ServiceException

ARM_VERSION = "2024-10-01-preview"
_AGAIN = (429, 502, 503)  # nothing was done: said once more
_PATIENCE = 60.0  # seconds for a server that is being started anew


class Server:
    """Who is asked, and by which token. Safe for several threads."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")
        self._token = ""
        self._until = 0.0
        self._lock = threading.RLock()
        self._ssl: Optional[ssl.SSLContext] = None

    @classmethod
    def from_environment(cls) -> "Server":
        """The server that `turnout env` means. ProjectSystemException if there is none."""
        found = os.environ.get("ARM_CLOUD_METADATA_URL", "")
        if "/metadata/" not in found:
            raise ProjectSystemException(
                'no server is known here: expected the variables of `eval "$(turnout env)"`, found no ARM_CLOUD_METADATA_URL; '
                "or start the script by `turnout exec -- python SCRIPT`")
        return cls(found.split("/metadata/")[0])

    def token(self, fresh: bool = False) -> str:
        """An access token, by the protocol of managed identities (api-version 2019-08-01)."""
        with self._lock:
            if self._token and not fresh and time.time() < self._until:
                return self._token
            endpoint, header = os.environ.get("IDENTITY_ENDPOINT"), os.environ.get("IDENTITY_HEADER")
            if not endpoint or not header:
                raise AuthenticationException(
                    'nobody is logged in here: expected IDENTITY_ENDPOINT and IDENTITY_HEADER, which `eval "$(turnout env)"` sets')
            query = urllib.parse.urlencode({"api-version": "2019-08-01", "resource": self.base})
            reply = self._send("GET", f"{endpoint}?{query}", {"X-IDENTITY-HEADER": header, "Metadata": "true"}, None)
            said = json.loads(reply)
            self._token = said["access_token"]
            self._until = min(float(said.get("expires_on", 0)) - 60, time.time() + 3000)
            return self._token

    def call(self, method: str, path: str, body: Any = None, /, api: str = "", **query: Any) -> Any:
        """What the server answers, as JSON (None where it says nothing). ServiceException has what it refused."""
        if api:
            query["api-version"] = api
        url = self.base + path if path.startswith("/") else path
        query = {name: value for name, value in query.items() if value is not None}
        if query:
            url += ("&" if "?" in url else "?") + urllib.parse.urlencode(query)
        headers = {"Authorization": "Bearer " + self.token(), "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            reply = self._send(method, url, headers, data)
        except ServiceException as error:
            if error.status_code != 401:
                raise
            headers["Authorization"] = "Bearer " + self.token(fresh=True)
            reply = self._send(method, url, headers, data)
        return json.loads(reply) if reply else None

    def pages(self, path: str, /, api: str = ARM_VERSION, **query: Any) -> Iterator[Dict[str, Any]]:
        """Every item of a collection, by its `nextLink`."""
        reply = self.call("GET", path, api=api, **query)
        while True:
            yield from reply.get("value", [])
            if not reply.get("nextLink"):
                return
            reply = self.call("GET", reply["nextLink"])

    def download(self, url: str, offset: int = 0) -> bytes:
        """What a link of the server (which needs no token) holds from that byte on."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            found = self._send("GET", url, headers, None, whole=offset == 0)
        except ServiceException as error:
            if error.status_code == 416:  # nothing beyond
                return b""
            raise
        return found

    def download_to(self, url: str, path: str) -> None:
        """Writes what a link holds into a file, whatever its size."""
        with self._open("GET", url, {}, None) as reply, open(path, "wb") as file:
            while True:
                part = reply.read(1 << 20)
                if not part:
                    return
                file.write(part)

    def upload(self, url: str, path: str) -> None:
        """Writes a file to a blob by its signed link (Put Blob)."""
        for again in range(6):
            try:
                with open(path, "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    headers = {"x-ms-blob-type": "BlockBlob", "Content-Length": str(size), "Content-Type": "application/octet-stream"}
                    with self._open("PUT", url, headers, file if size else b"") as reply:
                        reply.read()
                        return
            except (OSError, ServiceException) as error:
                if again == 5 or isinstance(error, ServiceException) and error.status_code not in _AGAIN:
                    raise
                time.sleep(2.0 ** again)

    def _send(self, method: str, url: str, headers: Dict[str, str], data: Optional[bytes], whole: bool = True) -> bytes:
        until = time.monotonic() + _PATIENCE
        wait = 0.2
        while True:
            try:
                with self._open(method, url, headers, data) as reply:
                    if not whole and reply.status == 200:  # a server that knows no ranges
                        return bytes(reply.read()[int(headers["Range"][6:-1]):])
                    return bytes(reply.read())
            except ServiceException as error:
                if error.status_code not in _AGAIN or time.monotonic() > until:
                    raise
            except ConnectionError as error:
                if time.monotonic() > until:
                    raise ServiceException(f"the server at {self.base} does not answer: {error}") from error
            time.sleep(wait)
            wait = min(wait * 2, 5.0)

    def _open(self, method: str, url: str, headers: Dict[str, str], data: Any) -> Any:
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            return urllib.request.urlopen(request, timeout=120, context=self._context() if url.startswith("https:") else None)
        except urllib.error.HTTPError as error:
            raise _refused(error) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ConnectionError):
                raise error.reason from None
            raise ServiceException(f"{url.split('?')[0]} cannot be reached: {error.reason}") from error

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._ssl is None:
                bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None
                self._ssl = ssl.create_default_context(cafile=bundle)
            return self._ssl


def _refused(error: urllib.error.HTTPError) -> ServiceException:
    text = error.read().decode(errors="replace")
    code, message = "", text[:2000] or str(error.reason)
    try:
        said = json.loads(text)
        inner = said.get("error", said) if isinstance(said, dict) else {}
        if isinstance(inner, dict):
            code = inner.get("code") or inner.get("error_code") or ""
            message = inner.get("message") or message
    except ValueError:
        pass
    return ServiceException(message, error.code, code)
