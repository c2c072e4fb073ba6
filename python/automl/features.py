"""How the columns of a table become numbers, and models made of several: all that a model needs to
predict. It comes with each model, and each generated script has it in it."""

import numpy
import pandas
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler, TargetEncoder


class Numbers(TransformerMixin, BaseEstimator):
    """Numbers of whatever was sent; what is none is missing."""

    def fit(self, X, y=None):
        self.names_ = [str(column) for column in X.columns]
        return self

    def transform(self, X):
        return numpy.column_stack(
            [pandas.to_numeric(X[c], errors="coerce").to_numpy(float) for c in X.columns]
        )

    def get_feature_names_out(self, names=None):
        return numpy.array(self.names_, dtype=object)


class Words(TransformerMixin, BaseEstimator):
    """Texts of whatever was sent; 3 and 3.0 are the same, and so are all that are missing."""

    def fit(self, X, y=None):
        self.names_ = [str(column) for column in X.columns]
        return self

    @staticmethod
    def word(value):
        if value is None or value != value:
            return "(missing)"
        if isinstance(value, (float, numpy.floating)) and value == int(value):
            return str(int(value))
        return str(value)

    def transform(self, X):
        return numpy.column_stack([[self.word(v) for v in X[c]] for c in X.columns]).astype(object)

    def get_feature_names_out(self, names=None):
        return numpy.array(self.names_, dtype=object)


class Text(TransformerMixin, BaseEstimator):
    """One column of texts, as a list of them."""

    def fit(self, X, y=None):
        self.names_ = ["text"]
        return self

    def transform(self, X):
        return [Words.word(value) for value in numpy.asarray(X, dtype=object).ravel()]

    def get_feature_names_out(self, names=None):
        return numpy.array(self.names_, dtype=object)


class Dates(TransformerMixin, BaseEstimator):
    """What of a day and a time may matter: how far on it is, and where in its year, week, day."""

    PARTS = ("time", "year", "month", "day", "weekday", "dayofyear", "hour")

    def fit(self, X, y=None):
        self.names_ = [f"{column}.{part}" for column in X.columns for part in self.PARTS]
        return self

    def transform(self, X):
        parts = []
        for column in X.columns:
            when = pandas.to_datetime(X[column], errors="coerce", utc=True)
            since = (when - pandas.Timestamp(0, tz="UTC")) / pandas.Timedelta(days=1)
            parts.append(since.to_numpy(float))
            parts += [getattr(when.dt, part).to_numpy(float) for part in self.PARTS[1:]]
        return numpy.column_stack(parts)

    def get_feature_names_out(self, names=None):
        return numpy.array(self.names_, dtype=object)


class Filled(TransformerMixin, BaseEstimator):
    """What is missing is what stands before it; at the beginning what comes first."""

    def fit(self, X, y=None):
        self.count_ = X.shape[1]
        return self

    def transform(self, X):
        return pandas.DataFrame(X).ffill().bfill().fillna(0).to_numpy(float)

    def get_feature_names_out(self, names=None):
        return numpy.array(names, dtype=object)


def imputer(rule):
    strategy = (rule or {}).get("strategy", "median")
    if strategy == "ffill":
        return Filled()
    return SimpleImputer(strategy=strategy, fill_value=(rule or {}).get("fill_value"))


def make_features(columns, scaling, blocked=()):
    """By the plan of the columns that was made with the data: a list of {name, kind, impute}.

    `scaling`: "none", "standard" or "minmax", as the algorithm needs it; `blocked`: names of steps
    that are left out.
    """
    blocked = {name.lower() for name in blocked}
    parts = []
    numeric = [column for column in columns if column["kind"] == "numeric"]
    rules = {}
    for column in numeric:
        rules.setdefault(tuple(sorted((column.get("impute") or {}).items())), []).append(
            column["name"]
        )
    for number, (rule, names) in enumerate(rules.items()):
        steps = [Numbers(), imputer(dict(rule))]
        if scaling == "standard":
            steps.append(StandardScaler())
        elif scaling == "minmax":
            steps.append(MinMaxScaler(clip=True))
        parts.append((f"numbers{number or ''}", make_pipeline(*steps), names))
    few = [column["name"] for column in columns if column["kind"] == "categorical"]
    many = [column["name"] for column in columns if column["kind"] == "many"]
    if "cattargetencoder" in blocked or "texttargetencoder" in blocked:
        few, many = few + many, []
    if few and not {"onehotencoder", "labelencoder"} <= blocked:
        one_hot = OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=40, sparse_output=False
        )
        parts.append(("categories", make_pipeline(Words(), one_hot), few))
    if many:
        steps = [Words(), TargetEncoder(random_state=0)]
        if scaling == "standard":
            steps.append(StandardScaler())
        elif scaling == "minmax":
            steps.append(MinMaxScaler(clip=True))
        parts.append(("many", make_pipeline(*steps), many))
    dates = [column["name"] for column in columns if column["kind"] == "datetime"]
    if dates:
        steps = [Dates(), SimpleImputer(strategy="median")]
        if scaling != "none":
            steps.append(StandardScaler() if scaling == "standard" else MinMaxScaler(clip=True))
        parts.append(("dates", make_pipeline(*steps), dates))
    if "tfidf" not in blocked:
        for column in columns:
            if column["kind"] == "text":
                vectors = TfidfVectorizer(max_features=500, ngram_range=(1, 2), sublinear_tf=True)
                parts.append(
                    (f"text {column['name']}", make_pipeline(Text(), vectors), [column["name"]])
                )
    return ColumnTransformer(parts, sparse_threshold=0)


class Encoded(ClassifierMixin, BaseEstimator):
    """A classifier that takes classes as numbers alone, for classes of any kind."""

    def __init__(self, model=None):
        self.model = model

    def fit(self, X, y):
        self.classes_, numbers = numpy.unique(numpy.asarray(y), return_inverse=True)
        self.model_ = self.model.fit(X, numbers)
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def predict(self, X):
        return self.classes_[numpy.argmax(self.predict_proba(X), axis=1)]


class Vote(BaseEstimator):
    """Models that were trained before, each with its weight."""

    def __init__(self, models=None, weights=None):
        self.models = models
        self.weights = weights

    def fit(self, X, y=None):
        return self

    def mean(self, X, method):
        total = sum(
            weight * numpy.asarray(getattr(model, method)(X), dtype=float)
            for model, weight in zip(self.models, self.weights)
        )
        return total / sum(self.weights)


class VoteOfClasses(ClassifierMixin, Vote):
    @property
    def classes_(self):
        return self.models[0].classes_

    def predict_proba(self, X):
        return self.mean(X, "predict_proba")

    def predict(self, X):
        return self.classes_[numpy.argmax(self.predict_proba(X), axis=1)]


class VoteOfNumbers(RegressorMixin, Vote):
    def predict(self, X):
        return self.mean(X, "predict")


class Stack(BaseEstimator):
    """A model on top of the predictions of models that were trained before."""

    def __init__(self, models=None, top=None):
        self.models = models
        self.top = top

    def fit(self, X, y=None):
        return self


class StackOfClasses(ClassifierMixin, Stack):
    @property
    def classes_(self):
        return self.top.classes_

    def predict_proba(self, X):
        below = numpy.hstack([model.predict_proba(X) for model in self.models])
        return self.top.predict_proba(below)

    def predict(self, X):
        return self.classes_[numpy.argmax(self.predict_proba(X), axis=1)]


class StackOfNumbers(RegressorMixin, Stack):
    def predict(self, X):
        return self.top.predict(numpy.column_stack([model.predict(X) for model in self.models]))
