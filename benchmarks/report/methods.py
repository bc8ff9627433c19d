"""How each figure of a report was taken, in words: the foot of the page."""

from __future__ import annotations

METHODS = (
    (
        "accuracy",
        "share of right answers on the test split, which nothing was chosen on, with Wilson's 95 % interval. The "
        "interval of the difference to the teacher is paired: from the flips, by Bonett and Price.",
    ),
    (
        "other metrics",
        "F1, recall, error rates and the like have 95 % bootstrap intervals of 2,000 resamples: rows are drawn, "
        "with the teacher's and the artifact's answers to the same row together. The p-value is of the same resamples.",
    ),
    (
        "agreement",
        "share of test rows where the top class is the teacher's. KL: mean KL(teacher || candidate), in nats. SQNR: "
        "power of the teacher's outputs / power of the difference, in dB.",
    ),
    (
        "flips",
        "test rows lost (teacher right, candidate wrong) and won (the other way); p is McNemar's exact test, "
        "two-sided: the chance of flips at least as uneven, were both models equally good.",
    ),
    (
        "batches",
        "the test rows once more in larger batches, through the same file and session: dynamic int8 takes its ranges "
        "over the whole batch. Agreement is with the answers of the batch size that is timed.",
    ),
    (
        "instruction sets",
        "int8 kernels of AVX2 without VNNI add pairs of products in 16 bits, which saturate. The share of pairs of "
        "weights whose products can leave 16 bits is counted in the file; 0 is proof that none can. Accuracy there is "
        "measured where the runtime has a switch for it.",
    ),
    (
        "latency",
        "wall time of one synchronised call in ms, warm-up not counted. All artifacts take turns in one process in a "
        "random order, so that drift of the machine hits all; before each counted call the same model is called once "
        "uncounted. Pre-processing is not included. From 32 samples on they are shared out among up to six processes, "
        "half of which open the artifacts in the other order: two sessions of one artifact were seen to differ by up "
        "to 1 % for as long as their process lives. The warm-up lasts until the medians of two windows in a row agree "
        "within 2 %, or ten windows. "
        "Intervals are 95 % bootstrap intervals of 2,000 resamples: processes are drawn, and whole rounds in each.",
    ),
    (
        "samples",
        "at least as many as the recipe asks for; cheap models get more until half a second per process is used up, "
        "at most 2,000 in all. The latency table says how many each figure rests on.",
    ),
    (
        "pinning",
        "the measuring process is bound to as many logical processors as its sessions have threads, where the system "
        "allows it; the latency table names them, or says 'not pinned'.",
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
        "scenarios",
        "by the names of MLPerf's LoadGen, each in a process of its own. multi-stream: p99 of queries of 8 samples. "
        "offline: throughput when all data is there at once, measured and not batch / latency. server: the highest "
        "rate of Poisson arrivals whose p99, queueing included, stays within the bound. sustained: one call after the "
        "other without a break; its figure is the median p50 of the last tenth of the windows / that of the first.",
    ),
    (
        "opening, first call",
        "opening a session, its files' checksums included, with the target's packages loaded before; and the first "
        "call after it, at the first shape.",
    ),
    (
        "cold start",
        "from the start of a fresh process to its first answer: Python, the runtime's packages, opening and one call; "
        "files in the page cache. The median of three starts for the teacher and what was chosen, of one for others.",
    ),
    (
        "peak memory",
        "the largest resident memory of a process of its own that opens the artifact and answers. Runtime memory: the "
        "same with the runtime loaded and nothing opened.",
    ),
    (
        "energy",
        "of the whole processor package for one call, by the processor's own counters (RAPL), idle power included. "
        "Where the machine does not offer or allow them the table says why.",
    ),
    (
        "speed-up",
        "the teacher's p50 divided by the candidate's, at the same shape. The teacher runs in fp32 on the same target "
        "with the same choice of session settings.",
    ),
    ("bytes, shrink", "every file that a device needs; the fp32 teacher's bytes on the same target divided by these."),
    ("zstd bytes", "the same files, each compressed by zstd at level 10: what a download takes."),
    ("MACs, int8 MACs", "multiply-accumulates of one input, and the share of them that runs in int8."),
    (
        "roofline",
        "peaks of this machine, measured in this run: large matrix products in fp32 and int8 through the runtime "
        "itself, at the same number of threads, two operations for each MAC; and memory bandwidth by copying a large "
        "array. The bound of an artifact is the larger of its operations / peak and its bytes of weights / bandwidth; "
        "the share of the limit is bound / p50.",
    ),
    (
        "compiler estimate",
        "artifacts for hardware that is not here are compiled for it and never timed. Products: matrix products and "
        "convolutions by the type that the compiler kept. Estimated ms: the compiler's static cost model. Roofline: "
        "the larger of operations / peak rate and bytes / memory bandwidth of the published chip.",
    ),
    (
        "passes",
        "taken before and after each pass on validation data, never on the test split. Figures are taken anew before "
        "each pass; what that alone changes is a step of its own, 'measured again'.",
    ),
)
