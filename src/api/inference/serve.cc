#include "api/inference/serve.h"

namespace turnout::api {
namespace {

// * A scoring script is served by Azure ML's own azureml-inference-server-http, told to listen on
//   loopback alone; its access log leaves the node's probes out.
// * An MLflow model without a script is loaded by mlflow.pyfunc and asked at /score, in Azure's
//   shape or MLflow's own.
// * After SIGTERM requests are taken for a moment more: one may be on its way already. Those under
//   way are answered to their end.
constexpr std::string_view kProgram = R"py(
import json, os, shutil, signal, sys, tempfile, threading, time

port, script, model, name, version, base = (sys.argv[1:] + [""] * 6)[:6]
sys.argv = ["azmlinfsrv"]
LINGER = 0.7  # seconds
LARGE = 1 << 30  # bytes

if model:
    folder = os.path.join(tempfile.mkdtemp(prefix="azureml-app-"), "azureml-models", name, version)
    os.makedirs(folder)
    model = os.path.abspath(model)
    model_path = os.path.join(folder, base or os.path.basename(model))
    # A copy of its own, since who looks for files does not follow links, and mlflow refuses them;
    # of a large model a link all the same.
    files = [os.path.join(at, file) for at, _, names in os.walk(model) for file in names] or [model]
    if sum(os.path.getsize(file) for file in files) > LARGE:
        os.symlink(model, model_path)
    elif os.path.isdir(model):
        shutil.copytree(model, model_path, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(model, model_path)
    os.environ["AZUREML_MODEL_DIR"] = folder
os.environ.setdefault("AML_APP_ROOT", os.getcwd())
sys.path.insert(0, os.getcwd())


def serve_script():
    try:
        import azureml_inference_server_http.amlserver as server
        import gunicorn.arbiter
        import gunicorn.glogging
        import gunicorn.workers.base
        import gunicorn.workers.sync
    except ImportError as why:
        sys.exit(f"the environment cannot serve a scoring script: {why}. "
                 "It needs the package azureml-inference-server-http")
    access = gunicorn.glogging.Logger.access
    Sync = gunicorn.workers.sync.SyncWorker
    wait = Sync.wait

    def without_probes(self, resp, req, environ, request_time):
        if environ.get("PATH_INFO") != "/":
            access(self, resp, req, environ, request_time)

    def later(self, sig, frame):
        def end():
            if isinstance(self, Sync):
                self.leaving = True
            else:
                self.alive = False
            if self.PIPE:
                os.write(self.PIPE[1], b".")
        threading.Timer(LINGER, end).start()

    # A worker of this class serves one after the other, and looks for the next here when it found
    # none. Those that wait in the kernel were sent too, so it leaves when none does.
    def wait_or_leave(self, timeout):
        ready = wait(self, 0 if self.leaving else timeout)
        if self.leaving and not any(one in self.sockets for one in ready or ()):
            self.alive = False
        return ready

    end_all = gunicorn.arbiter.Arbiter.handle_term

    def after_a_while(self, *rest):
        time.sleep(LINGER)
        return end_all(self, *rest)

    gunicorn.glogging.Logger.access = without_probes
    gunicorn.workers.base.Worker.handle_exit = later
    Sync.leaving = False
    Sync.wait = wait_or_leave
    gunicorn.arbiter.Arbiter.handle_term = after_a_while
    server.DEFAULT_HOST = "127.0.0.1"
    import gunicorn.config
    if any(one.name == "control_socket_disable" for one in gunicorn.config.KNOWN_SETTINGS):
        os.environ["GUNICORN_CMD_ARGS"] = "--no-control-socket " + os.environ.get("GUNICORN_CMD_ARGS", "")
    sys.argv += ["--entry_script", script, "--port", port]
    server.run()


def serve_mlflow():
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    import numpy
    import pandas
    import mlflow.pyfunc

    loaded = mlflow.pyfunc.load_model(model_path)
    print(f"model {name}:{version} is loaded", flush=True)

    class BadInput(Exception):
        pass

    schema = loaded.metadata.get_input_schema()
    is_table = schema is not None and not schema.is_tensor_spec()

    # JSON has one kind of number: what it means, the model's signature says.
    def table(frame):
        if is_table:
            from mlflow.utils.proto_json_utils import cast_df_types_according_to_schema
            frame = cast_df_types_according_to_schema(frame, schema)
        return frame

    def split(parts):
        return table(pandas.DataFrame(**{key: parts[key] for key in ("data", "columns", "index") if parts.get(key) is not None}))

    def tensor(value, name=None):
        array = numpy.asarray(value)
        if schema is not None and schema.is_tensor_spec():
            for spec in schema.inputs:
                if spec.name == name or len(schema.inputs) == 1:
                    array = array.astype(spec.type)
        return array

    def tensors(value):
        if isinstance(value, dict):
            return {key: tensor(part, key) for key, part in value.items()}
        return tensor(value)

    def rows(value):
        if is_table or (isinstance(value, list) and value and isinstance(value[0], dict)):
            named = is_table and schema.has_input_names() and value and not isinstance(value[0], dict)
            return table(pandas.DataFrame(value, columns=schema.input_names() if named else None))
        return tensors(value)

    def model_input(body):
        if not isinstance(body, dict):
            raise BadInput("expected a JSON object with 'input_data'")
        if "input_data" in body:
            data = body["input_data"]
            if isinstance(data, dict) and "data" in data and set(data) <= {"data", "columns", "index"}:
                return split(data)
            return tensors(data) if isinstance(data, dict) else rows(data)
        if "dataframe_split" in body:
            return split(body["dataframe_split"])
        if "dataframe_records" in body:
            return table(pandas.DataFrame(body["dataframe_records"]))
        if "inputs" in body:
            return rows(body["inputs"]) if is_table else tensors(body["inputs"])
        if "instances" in body:
            return rows(body["instances"])
        raise BadInput("expected 'input_data' (Azure ML), or one of 'dataframe_split', "
                       "'dataframe_records', 'inputs', 'instances' (MLflow); found " + ", ".join(sorted(body)[:8]))

    def plain(value):
        if isinstance(value, pandas.DataFrame):
            return value.to_dict(orient="records")
        if isinstance(value, (pandas.Series, pandas.Index, numpy.ndarray)):
            return value.tolist()
        if isinstance(value, numpy.generic):
            return value.item()
        return str(value)

    def text_of(value):
        return json.dumps(value, default=plain).encode()

    class Answering:  # how many requests are
        count, changed = 0, threading.Condition()

        def __enter__(self):
            with self.changed:
                self.count += 1

        def __exit__(self, *_):
            with self.changed:
                self.count -= 1
                self.changed.notify_all()

        def end(self):
            with self.changed:
                self.changed.wait_for(lambda: self.count == 0)

    answering = Answering()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, value):
            self.send(status, text_of(value))

        def send(self, status, text):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self):
            with answering:
                self.get()

        def do_POST(self):
            with answering:
                self.post()

        def get(self):
            path = self.path.split("?")[0]
            if path == "/":
                return self.answer(200, "Healthy")
            if path == "/swagger.json":
                return self.answer(200, swagger())
            self.answer(404, {"message": "there is /score, for POST"})

        def post(self):
            if self.headers.get("Content-Length") is None:
                self.close_connection = True
                return self.answer(411, {"message": "expected a Content-Length"})
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.split("?")[0] not in ("/score", "/invocations"):
                return self.answer(404, {"message": "there is /score"})
            try:
                body = json.loads(raw)
                data = model_input(body)
            except (BadInput, mlflow.exceptions.MlflowException) as why:
                return self.answer(400, {"message": str(why)})
            except Exception as why:  # whatever pandas and numpy make of what was sent
                return self.answer(400, {"message": f"the input cannot be read: {type(why).__name__}: {why}"})
            try:
                params = body.get("params")
                predicted = loaded.predict(data, params=params) if params else loaded.predict(data)
                if isinstance(predicted, (pandas.DataFrame, pandas.Series, numpy.ndarray, numpy.generic)):
                    predicted = plain(predicted)
                answer = text_of(predicted if "input_data" in body else {"predictions": predicted})
            except mlflow.exceptions.MlflowException as why:
                return self.answer(400, {"message": str(why)})
            except Exception:
                import traceback
                traceback.print_exc()
                return self.answer(500, {"message": "the model failed; its log says why"})
            self.send(200, answer)

        def log_message(self, form, *values):
            if self.path != "/":
                print(self.log_date_time_string(), form % values, flush=True)

    def swagger():
        return {"swagger": "2.0", "info": {"title": name, "version": version},
                "consumes": ["application/json"], "produces": ["application/json"],
                "paths": {"/": {"get": {"operationId": "ServiceHealthCheck", "responses": {"200": {"description": "it is alive"}}}},
                          "/score": {"post": {"operationId": "RunMLService", "responses": {"200": {"description": "what the model predicts"}},
                                              "parameters": [{"in": "body", "name": "serviceInputPayload",
                                                              "schema": {"type": "object", "properties": {"input_data": {"type": "object"}}}}]}}},
                "x-mlflow-signature": schema.to_dict() if schema else None}

    class Server(ThreadingHTTPServer):
        daemon_threads = False
        request_queue_size = 128

    server = Server(("127.0.0.1", int(port)), Handler)

    def end(*_):
        threading.Timer(LINGER, server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    server.serve_forever(poll_interval=0.1)
    answering.end()
    os._exit(0)  # idle connections have threads too, which would wait for a request


serve_script() if script else serve_mlflow()
)py";

}  // namespace

std::string_view serve_program() {
    return kProgram;
}

}  // namespace turnout::api
