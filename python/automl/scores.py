"""The metrics of models, by Azure ML's names and definitions
(https://learn.microsoft.com/azure/machine-learning/how-to-understand-automated-ml)."""

import numpy
from sklearn import metrics


def of_classes(y, probabilities, classes):
    """Scores of one set of rows; `probabilities` has a column for each class."""
    y = numpy.asarray(y)
    classes = numpy.asarray(classes)
    predicted = classes[numpy.argmax(probabilities, axis=1)]
    out = {
        "accuracy": metrics.accuracy_score(y, predicted),
        "balanced_accuracy": recall_macro(y, predicted),
        "matthews_correlation": metrics.matthews_corrcoef(y, predicted),
        "log_loss": metrics.log_loss(y, probabilities, labels=classes),
    }
    chance = 1 / len(classes)
    out["norm_macro_recall"] = max(0.0, (out["balanced_accuracy"] - chance) / (1 - chance))
    for average in ("macro", "micro", "weighted"):
        for name, score in (
            ("precision_score", metrics.precision_score),
            ("recall_score", metrics.recall_score),
            ("f1_score", metrics.f1_score),
        ):
            out[f"{name}_{average}"] = score(y, predicted, average=average, zero_division=0)
    # Each class against all others: classes that have no row, or all rows, say nothing.
    hot = y[:, None] == classes[None, :]
    counted = [i for i in range(len(classes)) if 0 < hot[:, i].sum() < len(y)]
    if counted:
        weights = hot[:, counted].sum(axis=0)
        for name, score in (
            ("AUC", metrics.roc_auc_score),
            ("average_precision_score", metrics.average_precision_score),
        ):
            each = [score(hot[:, i], probabilities[:, i]) for i in counted]
            out[f"{name}_macro"] = float(numpy.mean(each))
            out[f"{name}_weighted"] = float(numpy.average(each, weights=weights))
            out[f"{name}_micro"] = score(hot.ravel(), numpy.asarray(probabilities).ravel())
    return {name: float(value) for name, value in out.items()}


def recall_macro(y, predicted):
    return metrics.recall_score(y, predicted, average="macro", zero_division=0)


def of_numbers(y, predicted, spread):
    """`spread`: the range of the target in the training data, by which errors are normalized."""
    from scipy.stats import spearmanr

    y, predicted = numpy.asarray(y, float), numpy.asarray(predicted, float)
    spread = spread or 1.0
    rmse = float(numpy.sqrt(numpy.mean((y - predicted) ** 2)))
    mae = float(numpy.mean(numpy.abs(y - predicted)))
    median = float(numpy.median(numpy.abs(y - predicted)))
    flat = len(y) < 2 or numpy.ptp(y) == 0 or numpy.ptp(predicted) == 0
    out = {
        "root_mean_squared_error": rmse,
        "normalized_root_mean_squared_error": rmse / spread,
        "mean_absolute_error": mae,
        "normalized_mean_absolute_error": mae / spread,
        "median_absolute_error": median,
        "normalized_median_absolute_error": median / spread,
        "spearman_correlation": 0.0 if flat else float(spearmanr(y, predicted).statistic),
        "r2_score": float(metrics.r2_score(y, predicted)) if len(y) > 1 else 0.0,
        "explained_variance": float(metrics.explained_variance_score(y, predicted)),
    }
    some = y != 0
    if some.any():
        error = numpy.abs((y[some] - predicted[some]) / y[some])
        out["mean_absolute_percentage_error"] = float(numpy.mean(error) * 100)
    if (y > -1).all():
        logs = numpy.log1p(y) - numpy.log1p(numpy.maximum(predicted, -0.999999))
        out["root_mean_squared_log_error"] = float(numpy.sqrt(numpy.mean(logs**2)))
    return out


def mean_of(folds):
    """Of several folds."""
    names = set.intersection(*(set(fold) for fold in folds))
    return {name: float(numpy.mean([fold[name] for fold in folds])) for name in sorted(names)}
