"""The report as one HTML page: opens offline, asks for nothing, follows the reader's light or dark mode."""

from __future__ import annotations

import json

from benchmarks import plots, wording
from benchmarks.markdown import value_text
from benchmarks.records import Report, Row

# One line for each figure: how it was taken. Shown at the foot of the page.
METHODS = (
    (
        "accuracy",
        "share of right answers on the test split, which nothing was chosen on, with Wilson's 95 % interval. The "
        "interval of the difference to the teacher is paired: from the flips, by Bonett and Price.",
    ),
    (
        "agreement",
        "share of test rows where the top class is the teacher's. KL: mean KL(teacher || candidate), in nats.",
    ),
    (
        "flips",
        "test rows lost (teacher right, candidate wrong) and won (the other way); p is McNemar's exact test, "
        "two-sided: the chance of flips at least as uneven, were both models equally good.",
    ),
    (
        "latency",
        "wall time of one synchronised call in ms, warm-up not counted. All artifacts take turns in one process in a "
        "random order, so that drift of the machine hits all; before each counted call the same model is called once "
        "uncounted. Pre-processing is not included. From 40 samples on they are shared out among up to five processes: "
        "two sessions of one artifact were seen to differ by about 1 %. "
        "The warm-up lasts until the medians of two "
        "windows in a row agree within 2 %, or ten windows. "
        "Intervals are 95 % bootstrap intervals of 2,000 resamples of whole rounds.",
    ),
    (
        "percentiles",
        "shown from so many samples on as tell them with 99 % confidence by LoadGen's binomial rule: p50 11, p90 64, "
        "p95 130, p99 662, p99.9 6,636.",
    ),
    (
        "variation",
        "CV: standard deviation / mean, flagged above 2.5 %. Without outliers: interquartile range / 1.349 / median.",
    ),
    (
        "cold start",
        "opening a session, its files' checksums included, with the target's packages loaded before; and the first "
        "call after it, at the first shape.",
    ),
    (
        "speed-up",
        "the teacher's p50 divided by the candidate's, at the same shape. The teacher runs in fp32 on the same target "
        "with the same choice of session settings.",
    ),
    ("bytes, shrink", "every file that a device needs; the fp32 teacher's bytes on the same target divided by these."),
    ("MACs, int8 MACs", "multiply-accumulates of one input, and the share of them that runs in int8."),
    (
        "compiler estimate",
        "artifacts for hardware that is not here are compiled for it and never timed. Products: matrix products and "
        "convolutions by the type that the compiler kept. Estimated ms: the compiler's static cost model. Roofline: "
        "the larger of operations / peak rate and bytes / memory bandwidth of the published chip.",
    ),
    ("passes", "taken before and after each pass on validation data, never on the test split."),
)


def page(report: Report) -> str:
    """The whole page; every text of the report is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("benchmarks"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(_view(report))


def _view(report: Report) -> dict[str, object]:
    shapes = wording.all_shapes(report)
    chosen = wording.chosen_row(report)
    names = wording.shape_names(shapes)
    cells = (wording.stage_cells(stage, names) for stage in report.stages)
    stages = [
        (stage, {label: (before, after) for label, before, after in row})
        for stage, row in zip(report.stages, cells, strict=True)
    ]
    return {
        "report": report,
        "chosen": chosen,
        "tiles": _tiles(report, chosen) if chosen else [],
        "gates": [(*wording.gate_text(verdict), verdict.passed) for verdict in report.gates],
        "shapes": [(shape, wording.shape_words(shape)) for shape in shapes],
        "common": wording.common_shape(shapes),
        "names": names,
        "rows": (report.teacher, *report.candidates),
        "pareto": plots.pareto(report),
        "distributions": plots.distributions(report),
        "waterfalls": plots.waterfalls(report),
        "class_plots": plots.classes(report),
        "worst": plots.worst_classes(report),
        "library": plots.library(),
        "stage_labels": list(dict.fromkeys(label for _, cells in stages for label in cells)),
        "stages": stages,
        "builds": wording.build_cells(report),
        "latency": wording.latency_cells(report),
        "environment": _pairs(report.environment),
        "data": _pairs(report.data),
        "methods": METHODS,
        "w": wording,
        "details": _details,
        "pretty": lambda value: json.dumps(value, indent=1, ensure_ascii=False, default=str),
    }


def _tiles(report: Report, chosen: Row) -> list[tuple[str, str, str]]:
    """Name, value and comparison of the headline figures."""
    teacher = report.teacher
    drop = "the teacher's is not known"
    if chosen.accuracy is not None and teacher.accuracy is not None:
        drop = f"teacher {wording.share(teacher.accuracy)}, {wording.points(chosen.accuracy - teacher.accuracy)}"
        if interval := chosen.accuracy_difference_interval:
            drop += f" [{', '.join(wording.points(end).removesuffix(' points') for end in interval)}]"
    slowest = [f"{wording.p50(one)} ms" for one in chosen.latency]
    return [
        ("accuracy", wording.share(chosen.accuracy), drop),
        ("agreement", wording.share(chosen.agreement), "with the teacher's answers"),
        (
            "speed-up",
            wording.spread(one.speedup for one in chosen.latency),
            f"p50 {', '.join(slowest) or 'not measured'}",
        ),
        (
            "shrink",
            wording.times(chosen.shrink),
            f"{wording.human_bytes(chosen.bytes)}, teacher {wording.human_bytes(teacher.bytes)}",
        ),
    ]


def _details(row: Row) -> list[tuple[str, str]]:
    """The figures of one row that the table has no column for; those not taken are left to the table's dashes."""
    pairs = [
        ("validation accuracy", wording.share(row.validation_accuracy) if row.validation_accuracy is not None else ""),
        ("flips lost / won", f"{row.flips_lost} / {row.flips_won}" if row.flips_lost is not None else ""),
        ("difference to the teacher", _difference(row)),
        ("McNemar p", f"{row.mcnemar_p:.3g}" if row.mcnemar_p is not None else ""),
        ("KL", f"{row.kl:.3g} nats" if row.kl is not None else ""),
        ("SQNR", f"{row.sqnr_db:.1f} dB" if row.sqnr_db is not None else ""),
        ("session", value_text(row.settings) if row.settings else ""),
        ("method", row.candidate.name if row.candidate else ""),
        ("options", value_text(row.candidate.options) if row.candidate and row.candidate.options else ""),
    ]
    return [(name, text) for name, text in pairs if text]


def _difference(row: Row) -> str:
    if row.accuracy_difference is None or row.accuracy_difference_interval is None:
        return ""
    low, high = (wording.points(end).removesuffix(" points") for end in row.accuracy_difference_interval)
    return f"{wording.points(row.accuracy_difference)} [{low}, {high}]"


def _pairs(values: dict[str, object]) -> list[tuple[str, str]]:
    """Free-form values as text; byte counts in units, names without underscores."""
    pairs = []
    for name, value in values.items():
        is_bytes = name.endswith("_bytes") and isinstance(value, int)
        label = name.removesuffix("_bytes") if is_bytes else name
        text = wording.human_bytes(float(str(value))) if is_bytes else value_text(value)
        pairs.append((label.replace("_", " "), text))
    return pairs
