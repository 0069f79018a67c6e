"""A comparison of models with made-up figures."""

from __future__ import annotations

from typing import Any


def timing(ms: float, batch: int) -> dict[str, Any]:
    return {
        "runs": 10,
        "mean_ms": ms,
        "min_ms": ms * 0.9,
        "max_ms": ms * 1.5,
        "std_ms": ms * 0.1,
        "p95_ms": ms * 1.3,
        "per_s": 1000 * batch / ms,
        "round_means_ms": [ms, ms],
    }


def line(model: str, task: str, engine: str, precision: str, ms: float, **figures: Any) -> dict[str, Any]:
    return {
        "model": model,
        "task": task,
        "engine": engine,
        "precision": precision,
        "description": f"{engine} cpu f32",
        "batches": {"1": timing(ms, 1), "8": timing(8 * ms, 8)},
        "peak_memory_mib": 200.0,
        "model_memory_mib": 110.0,
        "file_bytes": 1_740_000,
        "open_s": 0.4,
        "check": {"passed": True, "against": "a on onnxruntime in f32", "figure": 1.0, "floor": 0.9},
        "agreement": None,
        "accuracy": {},
    } | figures


def models_document() -> dict[str, Any]:
    agreed = {
        "reference": "tiny",
        "f1": 0.981,
        "small_faces": 12,
        "small_recall": 0.917,
        "landmark_error_px": 0.42,
    }
    bad = {"passed": False, "against": "same <x> on openvino in f32", "figure": 0.41, "floor": 0.9}
    lines = [
        line("tiny", "detect", "openvino", "f32", 8.5, agreement={**agreed, "f1": 1.0}),
        line("tiny-int8", "detect", "onnxruntime", "int8", 4.25, agreement=agreed),
        line("same <x>", "embed", "openvino", "f32", 3.0, accuracy={"lfw_accuracy": 0.9935, "lfw_std": 0.004}),
        line(
            "same <x>", "embed", "onnxruntime", "f32", 2.0, check=bad, accuracy={"lfw_accuracy": 0.61, "lfw_std": 0.1}
        ),
    ]
    return {
        "format": 1,
        "mode": "models",
        "made_at": "2026-01-31T12:00:00+00:00",
        "machine": {"cpu": "A <fast> CPU", "cores": 2, "threads": 2, "versions": {"openvino": "2026.0"}},
        "options": {"models": ["tiny", "tiny-int8", "same <x>"], "canvas": [640, 384], "rounds": 5},
        "data": {"source": "</script><b>.mp4", "pictures": 64, "labelled": False, "faces": 90, "lfw_pairs": 0},
        "measured": "pictures in, faces out",
        "lines": lines,
        "cannot_run": [
            {"model": name, "engine": "cuda", "precision": "f32", "reason": "the device cuda is absent"}
            for name in ("tiny", "tiny-int8", "same <x>")
        ],
    }
