"""The algorithms by Azure ML's names: what their settings may be, what is usual, and how a model is
made of them. `draw` is an Optuna trial; `usual` is tried first, for all algorithms."""

USUAL = {
    "LightGBM": {
        "n_estimators": 100,
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_child_samples": 20,
        "reg_alpha": 1e-8,
        "reg_lambda": 1e-8,
        "colsample_bytree": 1.0,
        "subsample": 1.0,
    },
    "XGBoost": {
        "n_estimators": 100,
        "learning_rate": 0.1,
        "max_depth": 6,
        "min_child_weight": 1.0,
        "reg_alpha": 1e-8,
        "reg_lambda": 1.0,
        "colsample_bytree": 1.0,
        "subsample": 1.0,
    },
    "RandomForest": {"n_estimators": 100, "max_features": 0.5, "min_samples_leaf": 1},
    "ExtremeRandomTrees": {"n_estimators": 100, "max_features": 0.5, "min_samples_leaf": 1},
    "GradientBoosting": {
        "max_iter": 100,
        "learning_rate": 0.1,
        "max_leaf_nodes": 31,
        "min_samples_leaf": 20,
        "l2_regularization": 1e-8,
    },
    "DecisionTree": {"max_depth": 8, "min_samples_leaf": 5},
    "KNN": {"n_neighbors": 10, "weights": "distance"},
    "LogisticRegression": {"C": 1.0},
    "LinearSVM": {"C": 1.0},
    "SVM": {"C": 1.0, "gamma": "scale"},
    "SGD": {"alpha": 1e-4, "penalty": "l2"},
    "BernoulliNaiveBayes": {"alpha": 1.0},
    "MultinomialNaiveBayes": {"alpha": 1.0},
    "ElasticNet": {"alpha": 0.01, "l1_ratio": 0.5},
    "LassoLars": {"alpha": 0.001},
}

# How numbers have to be for it.
SCALING = {
    "KNN": "standard",
    "LogisticRegression": "standard",
    "LinearSVM": "standard",
    "SVM": "standard",
    "SGD": "standard",
    "ElasticNet": "standard",
    "LassoLars": "standard",
    "MultinomialNaiveBayes": "minmax",
    "BernoulliNaiveBayes": "standard",
}
# The time of these grows with more than the rows.
MOST_ROWS = {"SVM": 10_000, "KNN": 200_000, "LassoLars": 200_000}


def family(algorithm):
    return "XGBoost" if algorithm.startswith("XGBoost") else algorithm


def usual(algorithm):
    return dict(USUAL[family(algorithm)])


def fits(algorithm, rows):
    return rows <= MOST_ROWS.get(family(algorithm), rows)


def draw(trial, algorithm):
    """Settings of that algorithm, each named after it: spaces of different ones do not mix."""
    name = family(algorithm)

    def real(key, low, high, log=True):
        return trial.suggest_float(f"{name}.{key}", low, high, log=log)

    def whole(key, low, high, log=True):
        return trial.suggest_int(f"{name}.{key}", low, high, log=log)

    def one(key, values):
        return trial.suggest_categorical(f"{name}.{key}", values)

    if name == "LightGBM":
        return {
            "n_estimators": whole("n_estimators", 20, 1000),
            "learning_rate": real("learning_rate", 0.01, 0.5),
            "num_leaves": whole("num_leaves", 4, 255),
            "min_child_samples": whole("min_child_samples", 2, 128),
            "reg_alpha": real("reg_alpha", 1e-8, 10),
            "reg_lambda": real("reg_lambda", 1e-8, 10),
            "colsample_bytree": real("colsample_bytree", 0.3, 1, False),
            "subsample": real("subsample", 0.5, 1, False),
        }
    if name == "XGBoost":
        return {
            "n_estimators": whole("n_estimators", 20, 1000),
            "learning_rate": real("learning_rate", 0.01, 0.5),
            "max_depth": whole("max_depth", 2, 12, False),
            "min_child_weight": real("min_child_weight", 1e-3, 100),
            "reg_alpha": real("reg_alpha", 1e-8, 10),
            "reg_lambda": real("reg_lambda", 1e-8, 10),
            "colsample_bytree": real("colsample_bytree", 0.3, 1, False),
            "subsample": real("subsample", 0.5, 1, False),
        }
    if name in ("RandomForest", "ExtremeRandomTrees"):
        return {
            "n_estimators": whole("n_estimators", 20, 500),
            "max_features": real("max_features", 0.1, 1, False),
            "min_samples_leaf": whole("min_samples_leaf", 1, 50),
        }
    if name == "GradientBoosting":
        return {
            "max_iter": whole("max_iter", 20, 500),
            "learning_rate": real("learning_rate", 0.01, 0.5),
            "max_leaf_nodes": whole("max_leaf_nodes", 4, 255),
            "min_samples_leaf": whole("min_samples_leaf", 2, 128),
            "l2_regularization": real("l2_regularization", 1e-8, 10),
        }
    if name == "DecisionTree":
        return {
            "max_depth": whole("max_depth", 2, 20, False),
            "min_samples_leaf": whole("min_samples_leaf", 1, 50),
        }
    if name == "KNN":
        return {
            "n_neighbors": whole("n_neighbors", 1, 100),
            "weights": one("weights", ["uniform", "distance"]),
        }
    if name in ("LogisticRegression", "LinearSVM"):
        return {"C": real("C", 1e-4, 1e3)}
    if name == "SVM":
        return {"C": real("C", 1e-2, 1e3), "gamma": real("gamma", 1e-4, 1)}
    if name == "SGD":
        return {
            "alpha": real("alpha", 1e-7, 1),
            "penalty": one("penalty", ["l2", "l1", "elasticnet"]),
        }
    if name in ("BernoulliNaiveBayes", "MultinomialNaiveBayes"):
        return {"alpha": real("alpha", 1e-3, 10)}
    if name == "ElasticNet":
        return {"alpha": real("alpha", 1e-5, 10), "l1_ratio": real("l1_ratio", 0.01, 1, False)}
    if name == "LassoLars":
        return {"alpha": real("alpha", 1e-6, 1)}
    raise ValueError(algorithm)


def code_of(algorithm, settings, task, cores, seed):
    """The model as an expression, and the import that it needs: what a trial trains, and what the
    generated script shows."""
    name, classes = family(algorithm), task == "classification"
    text = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    kind = "Classifier" if classes else "Regressor"
    jobs, state = f"n_jobs={cores}", f"random_state={seed}"
    if name == "LightGBM":
        return (
            f"LGBM{kind}({text}, subsample_freq=1, {jobs}, {state}, verbosity=-1)",
            f"from lightgbm import LGBM{kind}",
        )
    if name == "XGBoost":
        made = f"XGB{kind}({text}, {jobs}, {state})"
        return (f"Encoded({made})" if classes else made), f"from xgboost import XGB{kind}"
    if name == "RandomForest":
        return (
            f"RandomForest{kind}({text}, {jobs}, {state})",
            f"from sklearn.ensemble import RandomForest{kind}",
        )
    if name == "ExtremeRandomTrees":
        return (
            f"ExtraTrees{kind}({text}, {jobs}, {state})",
            f"from sklearn.ensemble import ExtraTrees{kind}",
        )
    if name == "GradientBoosting":
        return (
            f"HistGradientBoosting{kind}({text}, {state})",
            f"from sklearn.ensemble import HistGradientBoosting{kind}",
        )
    if name == "DecisionTree":
        return (
            f"DecisionTree{kind}({text}, {state})",
            f"from sklearn.tree import DecisionTree{kind}",
        )
    if name == "KNN":
        return (
            f"KNeighbors{kind}({text}, {jobs})",
            f"from sklearn.neighbors import KNeighbors{kind}",
        )
    if name == "LogisticRegression":
        return (
            f"LogisticRegression({text}, max_iter=1000)",
            "from sklearn.linear_model import LogisticRegression",
        )
    if name == "LinearSVM":
        return (
            f"CalibratedClassifierCV(LinearSVC({text}, {state}), cv=3)",
            "from sklearn.calibration import CalibratedClassifierCV\n"
            "from sklearn.svm import LinearSVC",
        )
    if name == "SVM":
        return (
            f"CalibratedClassifierCV(SVC({text}, {state}), cv=3, ensemble=False)",
            "from sklearn.calibration import CalibratedClassifierCV\nfrom sklearn.svm import SVC",
        )
    if name == "SGD":
        loss = ", loss='log_loss'" if classes else ""
        return f"SGD{kind}({text}{loss}, {state})", f"from sklearn.linear_model import SGD{kind}"
    if name == "BernoulliNaiveBayes":
        return f"BernoulliNB({text})", "from sklearn.naive_bayes import BernoulliNB"
    if name == "MultinomialNaiveBayes":
        return f"MultinomialNB({text})", "from sklearn.naive_bayes import MultinomialNB"
    if name == "ElasticNet":
        return (
            f"ElasticNet({text}, max_iter=5000, {state})",
            "from sklearn.linear_model import ElasticNet",
        )
    if name == "LassoLars":
        return f"LassoLars({text}, {state})", "from sklearn.linear_model import LassoLars"
    raise ValueError(algorithm)


def make_model(algorithm, settings, task, cores, seed):
    from .features import Encoded

    expression, imports = code_of(algorithm, settings, task, cores, seed)
    names = {"Encoded": Encoded}
    exec(imports, names)  # of the table above alone
    return eval(expression, names)
