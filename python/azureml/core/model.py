"""Registered models."""
from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from azureml.exceptions import ModelNotFoundException, ServiceException, UserErrorException

if TYPE_CHECKING:
    from azureml.core.workspace import Workspace

MODELS_VERSION = "2023-08-01-preview"


class Model:
    """`Model(ws, "name")` is the newest version of a model, `Model(ws, "name", version=2)` or `Model(ws, "name:2")` that one.
    ModelNotFoundException: there is none."""

    def __init__(self, workspace: "Workspace", name: str, id: Optional[str] = None, tags: object = None, properties: object = None,
                 version: Optional[int] = None, run_id: Optional[str] = None, **kwargs: Any) -> None:
        self.workspace = workspace
        name, _, of_name = (id or name).partition(":")
        wanted = str(version) if version is not None else of_name
        path = f"{workspace._path}/models/{name}"
        try:
            if not wanted:
                wanted = workspace._server.call("GET", path, api=MODELS_VERSION)["properties"]["latestVersion"]
            self._take(name, workspace._server.call("GET", f"{path}/versions/{wanted}", api=MODELS_VERSION))
        except ServiceException as error:
            if error.status_code != 404:
                raise
            raise ModelNotFoundException(f"ModelNotFound: {error.message}", error) from None

    def _take(self, name: str, said: Dict[str, Any]) -> None:
        properties = said["properties"]
        self.name = name
        self.version = int(said["name"]) if str(said["name"]).isdigit() else said["name"]
        self.id = f"{name}:{said['name']}"
        self.description: Optional[str] = properties.get("description")
        self.tags: Dict[str, str] = dict(properties.get("tags") or {})
        self.properties: Dict[str, str] = dict(properties.get("properties") or {})
        self.run_id: Optional[str] = self.properties.get("azureml.runId") or properties.get("jobName")
        self.created_time: Optional[str] = (said.get("systemData") or {}).get("createdAt")
        self.url: str = properties.get("modelUri", "")

    def __repr__(self) -> str:
        return f"Model(workspace={self.workspace!r}, name={self.name}, id={self.id}, version={self.version}, tags={self.tags}, properties={self.properties})"

    @staticmethod
    def list(workspace: "Workspace", name: Optional[str] = None, tags: Optional[List[Any]] = None, latest: bool = False,
             **kwargs: Any) -> List["Model"]:
        """All versions of all models, or of that one; `latest`: the newest of each."""
        names = [name] if name else [one["name"] for one in workspace._server.pages(workspace._path + "/models", api=MODELS_VERSION)]
        found: List[Model] = []
        for one in names:
            try:
                versions = list(workspace._server.pages(f"{workspace._path}/models/{one}/versions", api=MODELS_VERSION))
            except ServiceException as error:
                if error.status_code != 404:
                    raise
                continue
            models = []
            for said in versions:
                model: Model = object.__new__(Model)
                model.workspace = workspace
                model._take(one, said)
                models.append(model)
            models.sort(key=lambda model: model.version if isinstance(model.version, int) else 0, reverse=True)
            found += models[:1] if latest else models
        return [one for one in found if all(_has(one.tags, tag) for tag in tags or [])]

    @staticmethod
    def register(workspace: "Workspace", model_path: str, model_name: str, tags: Optional[Dict[str, str]] = None,
                 properties: Optional[Dict[str, str]] = None, description: Optional[str] = None, **kwargs: Any) -> "Model":
        """Uploads a file or a folder and registers it as the next version."""
        if not os.path.exists(model_path):
            raise UserErrorException(f"model_path: expected a file or a folder, found '{model_path}', which is neither")
        import uuid

        store = workspace.get_default_datastore()
        target = f"LocalUpload/{uuid.uuid4().hex}"
        name = os.path.basename(os.path.abspath(model_path))
        if os.path.isdir(model_path):
            store.upload(model_path, f"{target}/{name}", True, False)
        else:
            store.upload_files([model_path], os.path.dirname(os.path.abspath(model_path)), target, True, False)
        return Model._register(workspace, model_name, f"azureml://datastores/{store.name}/paths/{target}/{name}", tags, properties, description)

    @staticmethod
    def _register(workspace: "Workspace", name: str, uri: str, tags: Optional[Dict[str, str]], properties: Optional[Dict[str, str]],
                  description: Optional[str], run_id: Optional[str] = None) -> "Model":
        body: Dict[str, Any] = {"modelUri": uri, "modelType": "custom_model", "tags": tags or {}, "properties": dict(properties or {})}
        if description:
            body["description"] = description
        if run_id:
            body["properties"]["azureml.runId"] = run_id
        path = f"{workspace._path}/models/{name}"
        try:
            version = workspace._server.call("GET", path, api=MODELS_VERSION)["properties"]["nextVersion"]
        except ServiceException as error:
            if error.status_code != 404:
                raise
            version = "1"
        try:
            workspace._server.call("PUT", f"{path}/versions/{version}", {"properties": body}, api=MODELS_VERSION)
        except ServiceException as error:
            raise UserErrorException(error.message, error) from None
        return Model(workspace, name, version=version)

    def download(self, target_dir: str = ".", exist_ok: bool = False, **kwargs: Any) -> str:
        """Writes its files to a folder; the path of the file or folder that the model is."""
        found = re.search(r"/datastores/([^/]+)/paths/(.+?)/?$", self.url)
        if not found:
            raise UserErrorException(f"model {self.id}: expected its files in a datastore, found {self.url}")
        from azureml.core.datastore import Datastore

        store, path = Datastore(self.workspace, found[1]), found[2]
        name = path.rsplit("/", 1)[-1]
        target = os.path.join(target_dir, name)
        if os.path.exists(target) and not exist_ok:
            raise UserErrorException(f"{target}: expected nothing there, found a file or a folder: exist_ok=True writes over it")
        count = 0
        for one in store._names(path):
            if one != path and not one.startswith(path + "/"):
                continue
            file = target + one[len(path):]
            os.makedirs(os.path.dirname(file) or ".", exist_ok=True)
            self.workspace._server.download_to(store._link(one), file)
            count += 1
        if not count:
            raise ModelNotFoundException(f"model {self.id}: its files are gone from {self.url}")
        return target

    @staticmethod
    def get_model_path(model_name: str, version: Optional[int] = None, _workspace: Optional["Workspace"] = None) -> str:
        """In a script: where the model is, which is downloaded for that."""
        if _workspace is None:
            from azureml.core.run import Run

            _workspace = Run.get_context(allow_offline=False).experiment.workspace
        return Model(_workspace, model_name, version=version).download(os.path.join("azureml-models", model_name), exist_ok=True)

    def delete(self) -> None:
        """Deletes this version."""
        self.workspace._server.call("DELETE", f"{self.workspace._path}/models/{self.name}/versions/{self.version}", api=MODELS_VERSION)


def _has(tags: Dict[str, str], wanted: Any) -> bool:
    if isinstance(wanted, str):
        return wanted in tags
    return bool(tags.get(wanted[0]) == wanted[1])
