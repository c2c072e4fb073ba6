"""Datastores: where data is that runs read."""
from __future__ import annotations

import os
import re
import urllib.parse
import xml.etree.ElementTree as xml
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional

from azureml.exceptions import ServiceException, UserErrorException

if TYPE_CHECKING:
    from azureml.core.workspace import Workspace


class DataReference:
    """A folder of a datastore. Among the arguments of a script it becomes the folder on the node where its files are."""

    def __init__(self, datastore: "Datastore", path_on_datastore: Optional[str] = None, data_reference_name: Optional[str] = None,
                 mode: str = "mount") -> None:
        self.datastore = datastore
        self.path_on_datastore = (path_on_datastore or "").strip("/")
        self.data_reference_name = data_reference_name or "data_" + re.sub(r"\W", "_", self.path_on_datastore or datastore.name)
        self.mode = mode

    def as_mount(self) -> "DataReference":
        return DataReference(self.datastore, self.path_on_datastore, self.data_reference_name, "mount")

    def as_download(self, path_on_compute: Optional[str] = None, overwrite: bool = False) -> "DataReference":
        return DataReference(self.datastore, self.path_on_datastore, self.data_reference_name, "download")

    def path(self, path: str) -> "DataReference":
        """A folder or file beneath this one."""
        return DataReference(self.datastore, f"{self.path_on_datastore}/{path}", None, self.mode)

    def _input(self) -> Dict[str, Any]:
        """As an input of a job."""
        return {"jobInputType": "uri_folder", "mode": "ReadOnlyMount" if self.mode == "mount" else "Download",
                "uri": f"azureml://datastores/{self.datastore.name}/paths/{self.path_on_datastore}"}


class Datastore:
    """`Datastore(ws, "name")`, or `ws.get_default_datastore()`. UserErrorException: there is none of that name."""

    def __init__(self, workspace: "Workspace", name: str) -> None:
        self.workspace = workspace
        self.name = name
        try:
            said = workspace._arm("GET", f"/datastores/{name}")["properties"]
        except ServiceException as error:
            raise UserErrorException(error.message, error) from None
        self.container_name: str = said.get("containerName", "")
        self.account_name: str = said.get("accountName", "")
        self.datastore_type: str = said.get("datastoreType", "")

    @classmethod
    def get(cls, workspace: "Workspace", datastore_name: str) -> "Datastore":
        return cls(workspace, datastore_name)

    @classmethod
    def get_default(cls, workspace: "Workspace") -> "Datastore":
        return workspace.get_default_datastore()

    def path(self, path: Optional[str] = None, data_reference_name: Optional[str] = None) -> DataReference:
        return DataReference(self, path, data_reference_name)

    def as_mount(self) -> DataReference:
        return DataReference(self)

    def as_download(self, path_on_compute: Optional[str] = None) -> DataReference:
        return DataReference(self, mode="download")

    def upload(self, src_dir: str, target_path: Optional[str] = None, overwrite: bool = False, show_progress: bool = True) -> DataReference:
        """Uploads a folder."""
        files = [os.path.join(folder, one) for folder, _, names in os.walk(src_dir) for one in sorted(names)]
        return self.upload_files(files, src_dir, target_path, overwrite, show_progress)

    def upload_files(self, files: List[str], relative_root: Optional[str] = None, target_path: Optional[str] = None,
                     overwrite: bool = False, show_progress: bool = True) -> DataReference:
        """Uploads files, by their paths beneath `relative_root`. What is there already stays, unless `overwrite`."""
        root = relative_root or (os.path.commonpath([os.path.dirname(os.path.abspath(one)) for one in files]) if files else ".")
        target = (target_path or "").strip("/")
        there = set() if overwrite else set(self._names(target))
        for file in files:
            name = "/".join(filter(None, [target, os.path.relpath(file, root).replace(os.sep, "/")]))
            if name in there:
                print(f"Target already exists. Skipping upload for {name}")
                continue
            if show_progress:
                print(f"Uploading {file}")
            self.workspace._server.upload(self._link(name), file)
        if show_progress:
            print(f"Uploaded {len(files)} files")
        return self.path(target)

    def download(self, target_path: str, prefix: Optional[str] = None, overwrite: bool = False, show_progress: bool = True) -> int:
        """Writes the files whose names begin so to a folder of this machine; how many there were."""
        count = 0
        for name in self._names(prefix or ""):
            file = os.path.join(target_path, *name.split("/"))
            count += 1
            if os.path.exists(file) and not overwrite:
                continue
            os.makedirs(os.path.dirname(file), exist_ok=True)
            self.workspace._server.download_to(self._link(name), file)
        return count

    # ---- Azure's blob protocol, by a signed link

    def _signed(self, name: str, more: str = "") -> str:
        if self.datastore_type != "AzureBlob":
            raise UserErrorException(f"datastore '{self.name}': expected one of blobs, found {self.datastore_type}")
        secret = self.workspace._arm("POST", f"/datastores/{self.name}/listSecrets", {})
        path = f"/blob/{self.container_name}" + (f"/{urllib.parse.quote(name)}" if name else "")
        return f"{self.workspace._server.base}{path}?{more}{secret['sasToken']}"

    def _link(self, name: str) -> str:
        return self._signed(name)

    def _names(self, prefix: str) -> Iterator[str]:
        marker = ""
        while True:
            query = urllib.parse.urlencode({"restype": "container", "comp": "list", "prefix": prefix, "marker": marker}) + "&"
            found = xml.fromstring(self.workspace._server.download(self._signed("", query)))
            for one in found.iter("Name"):
                yield str(one.text)
            marker = found.findtext("NextMarker") or ""
            if not marker:
                return


__all__ = ["DataReference", "Datastore"]
