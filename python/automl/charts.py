"""Charts of a model as pictures beneath outputs/charts, with their numbers as JSON beside them."""

import json
import os

import numpy

FOLDER = os.path.join("outputs", "charts")
MOST_CLASSES = 20


def figure():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6, 5), layout="constrained")
    return drawn, drawn.add_subplot()


def keep(name, drawn, numbers):
    os.makedirs(FOLDER, exist_ok=True)
    drawn.savefig(os.path.join(FOLDER, name + ".png"), dpi=90)
    with open(os.path.join(FOLDER, name + ".json"), "w", encoding="utf-8") as file:
        json.dump(numbers, file)


def draw(data, y, predictions, algorithm):
    if data.task == "classification":
        of_classes(
            numpy.asarray(y), predictions, data.setup["classes"], data.settings.get("positiveLabel")
        )
    else:
        of_numbers(numpy.asarray(y, float), predictions)


def thinned(*lists, most=200):
    step = max(1, len(lists[0]) // most)
    return [[round(float(v), 6) for v in one[::step]] + [round(float(one[-1]), 6)] for one in lists]


def of_classes(y, probabilities, classes, positive):
    from sklearn import metrics

    classes = numpy.asarray(classes)
    predicted = classes[numpy.argmax(probabilities, axis=1)]
    shown = classes[:MOST_CLASSES]
    matrix = metrics.confusion_matrix(y, predicted, labels=shown)
    drawn, axes = figure()
    image = axes.imshow(matrix, cmap="Blues")
    drawn.colorbar(image)
    axes.set(
        title="confusion matrix",
        xlabel="predicted",
        ylabel="true",
        xticks=range(len(shown)),
        yticks=range(len(shown)),
        xticklabels=[str(c)[:12] for c in shown],
        yticklabels=[str(c)[:12] for c in shown],
    )
    if len(shown) <= 10:
        for i in range(len(shown)):
            for j in range(len(shown)):
                dark = matrix[i, j] > matrix.max() / 2
                axes.text(
                    j,
                    i,
                    f"{matrix[i, j]:,}",
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                )
    keep("confusion_matrix", drawn, {"classes": [str(c) for c in shown], "matrix": matrix.tolist()})

    # Of two classes one curve says it all.
    if len(classes) == 2:
        one = next((i for i, c in enumerate(classes) if str(c) == str(positive)), 1)
        chosen = [one]
    else:
        chosen = range(min(len(classes), MOST_CLASSES))
    roc, curve, calibration = {}, {}, {}
    figures = {name: figure() for name in ("roc", "precision_recall", "calibration")}
    for i in chosen:
        truth = y == classes[i]
        if not truth.any() or truth.all():
            continue
        label = str(classes[i])[:20]
        fpr, tpr, _ = metrics.roc_curve(truth, probabilities[:, i])
        figures["roc"][1].plot(fpr, tpr, label=f"{label} ({metrics.auc(fpr, tpr):.3f})")
        roc[label] = dict(zip(("false_positive", "true_positive"), thinned(fpr, tpr)))
        precision, recall, _ = metrics.precision_recall_curve(truth, probabilities[:, i])
        figures["precision_recall"][1].plot(recall, precision, label=label)
        curve[label] = dict(zip(("recall", "precision"), thinned(recall, precision)))
        bins = numpy.clip((probabilities[:, i] * 10).astype(int), 0, 9)
        points = [
            (
                float(probabilities[bins == b, i].mean()),
                float(truth[bins == b].mean()),
                int((bins == b).sum()),
            )
            for b in range(10)
            if (bins == b).any()
        ]
        figures["calibration"][1].plot(
            [p[0] for p in points], [p[1] for p in points], "o-", label=label
        )
        calibration[label] = points
    for name, x, y_label, numbers in (
        ("roc", "false positives", "true positives", roc),
        ("precision_recall", "recall", "precision", curve),
        ("calibration", "predicted probability", "share of the class", calibration),
    ):
        drawn, axes = figures[name]
        axes.set(
            title=name.replace("_", " "), xlabel=x, ylabel=y_label, xlim=(0, 1), ylim=(0, 1.02)
        )
        if name != "precision_recall":
            axes.plot([0, 1], [0, 1], "--", color="gray", linewidth=1)
        if numbers:
            axes.legend(fontsize=8)
        keep(name, drawn, numbers)


def of_numbers(y, predicted):
    drawn, axes = figure()
    axes.scatter(y, predicted, s=8, alpha=0.5)
    low, high = float(min(y.min(), predicted.min())), float(max(y.max(), predicted.max()))
    axes.plot([low, high], [low, high], "--", color="gray", linewidth=1)
    axes.set(title="predicted against true", xlabel="true", ylabel="predicted")
    keep(
        "predicted_true", drawn, dict(zip(("true", "predicted"), thinned(y, predicted, most=1000)))
    )
    residuals = predicted - y
    drawn, axes = figure()
    counts, edges, _ = axes.hist(residuals, bins=30)
    axes.set(title="residuals", xlabel="predicted - true", ylabel="rows")
    keep(
        "residuals",
        drawn,
        {
            "edges": edges.tolist(),
            "counts": counts.tolist(),
            "mean": float(residuals.mean()),
            "standard_deviation": float(residuals.std()),
        },
    )


def bars(name, ranked, title):
    drawn, axes = figure()
    axes.barh([str(n)[:30] for n, _ in ranked][::-1], [v for _, v in ranked][::-1])
    axes.set(title=title)
    keep(name, drawn, [[str(n), float(v)] for n, v in ranked])


def forecast(frame, time, target):
    """`frame`: columns time, true, predicted, low, high of one series."""
    drawn, axes = figure()
    axes.plot(frame[time], frame[target], label="true")
    axes.plot(frame[time], frame["predicted"], label="forecast")
    axes.fill_between(frame[time], frame["low"], frame["high"], alpha=0.2, label="90 %")
    axes.set(title="forecast")
    axes.tick_params(axis="x", rotation=30)
    axes.legend(fontsize=8)
    keep(
        "forecast",
        drawn,
        {
            "time": [str(v) for v in frame[time]],
            **{n: [float(v) for v in frame[n]] for n in (target, "predicted", "low", "high")},
        },
    )
