"""The snapshot of a run: which files a folder has, and how they come to the server."""
from __future__ import annotations

import concurrent.futures
import fnmatch
import hashlib
import io
import os
import re
import urllib.parse
import zipfile
import zipimport
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from azureml.exceptions import ServiceException, SnapshotException

if TYPE_CHECKING:
    from azureml.core.workspace import Workspace

CODES_VERSION = "2023-04-01"
MOST_BYTES = 300 << 20  # as in 2018
# Beneath the folder of a run: what azureml.core itself brings along.
SETUP_FOLDER = "azureml-setup"
LAYER = f"{SETUP_FOLDER}/azureml_core.zip"
_NEVER = (".git", "__pycache__", ".ipynb_checkpoints", SETUP_FOLDER)


def files_of(folder: str) -> Dict[str, Path]:
    """The files of a snapshot by their paths in it. .amlignore, or else .gitignore, says what stays behind, in git's
    words. SnapshotException: there is no such folder, or it is too large."""
    root = Path(folder)
    if not root.is_dir():
        raise SnapshotException(f"source_directory: expected a folder, found '{folder}', which is none")
    rules = _rules(root)
    found: Dict[str, Path] = {}
    size = 0
    for path, folders, names in os.walk(root):
        base = Path(path).relative_to(root)
        folders[:] = sorted(one for one in folders if one not in _NEVER and not _ignored(rules, (base / one).as_posix(), True))
        for name in sorted(names):
            relative = (base / name).as_posix()
            file = Path(path) / name
            if _ignored(rules, relative, False) or not file.is_file():
                continue
            found[relative] = file
            size += file.stat().st_size
            if size > MOST_BYTES:
                raise SnapshotException(
                    f"source_directory '{folder}': expected at most {MOST_BYTES >> 20} MB, found more: name what is not code in "
                    ".amlignore, and bring data by a datastore")
    return found


def layer() -> bytes:
    """azureml.core itself as a zip from which Python imports, so that a script has its run with any interpreter. The same
    bytes each time."""
    import azureml.core
    import azureml.exceptions

    loader = getattr(azureml.core, "__loader__", None)
    if isinstance(loader, zipimport.zipimporter):  # in a run that submits another one
        return Path(loader.archive).read_bytes()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        def add(name: str, content: bytes) -> None:
            pack.writestr(zipfile.ZipInfo(name, (2018, 9, 24, 0, 0, 0)), content)

        add("azureml/__init__.py", b'__path__ = __import__("pkgutil").extend_path(__path__, __name__)\n')
        for module, package in ((azureml.exceptions, "azureml/exceptions"), (azureml.core, "azureml/core")):
            root = Path(str(module.__file__)).parent
            for file in sorted(root.rglob("*.py")):
                add(f"{package}/{file.relative_to(root).as_posix()}", file.read_bytes())
    return out.getvalue()


def upload(workspace: "Workspace", files: Dict[str, Path], more: Optional[Dict[str, bytes]] = None) -> Tuple[str, str]:
    """Brings files to the server as a code asset, unless it has the same already: (its ARM id, its name)."""
    more = more or {}
    hashes = {name: _hash_of(path) for name, path in files.items()}
    hashes.update({name: hashlib.sha256(content).hexdigest() for name, content in more.items()})
    whole = hashlib.sha256("\n".join(f"{name} {one}" for name, one in sorted(hashes.items())).encode()).hexdigest()
    name = f"v1-{whole[:40]}"
    path = f"{workspace._path}/codes/{name}/versions/1"
    server = workspace._server
    try:
        server.call("GET", path, api=CODES_VERSION)
        return path, name
    except ServiceException as error:
        if error.status_code != 404:
            raise
    place = server.call("POST", path + "/startPendingUpload", {"pendingUploadType": "TemporaryBlobReference"}, api=CODES_VERSION)
    blobs = place["blobReferenceForConsumption"]
    base, _, link = blobs["credential"]["sasUri"].partition("?")

    def put(one: str) -> None:
        url = f"{base}/{urllib.parse.quote(one)}?{link}"
        if one in more:
            server._send("PUT", url, {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}, more[one])
        else:
            server.upload(url, str(files[one]))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(put, sorted(hashes)))
    body = {"properties": {"codeUri": blobs["blobUri"], "isAnonymous": True, "properties": {"hash_sha256": whole}}}
    server.call("PUT", path, body, api=CODES_VERSION)
    return path, name


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


# A rule of .gitignore: (what a path matches, whether it takes a path back in, whether it is for folders alone).
_Rule = Tuple["re.Pattern[str]", bool, bool]


def _rules(root: Path) -> List[_Rule]:
    for name in (".amlignore", ".gitignore"):
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8", errors="replace").splitlines()
            return [rule for rule in map(_rule, lines) if rule]
    return []


def _rule(line: str) -> Optional[_Rule]:
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    again = line.startswith("!")
    line = line[1:] if again else line
    folders_alone = line.endswith("/")
    line = line.rstrip("/")
    anchored = "/" in line
    pattern = ""
    parts = line.lstrip("/").split("/")
    for at, part in enumerate(parts):
        if part == "**":
            pattern += ".*" if at == len(parts) - 1 else "(?:.*/)?"
        else:
            pattern += fnmatch.translate(part)[4:-3].replace(".*", "[^/]*") + "/"
    return re.compile(("" if anchored else "(?:.*/)?") + pattern.rstrip("/") + r"\Z", re.S), again, folders_alone


def _ignored(rules: List[_Rule], path: str, folder: bool) -> bool:
    out = False
    for pattern, again, folders_alone in rules:
        if (folder or not folders_alone) and pattern.match(path):
            out = not again
    return out
