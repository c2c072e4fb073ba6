# The folder `azureml` is shared with other packages, such as azureml-mlflow.
__path__ = __import__("pkgutil").extend_path(__path__, __name__)
