"""Examples in the API's documents: drawings of our own, so that “Try it out” works as it stands."""

from typing import Any

_CROSS = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYAQAAAADIDABVAAAAVUlEQVR42k3MsQmAMBQG4XsPh0gXJ0mh09i5gZuJYKEjOEYqUZT8"
    "FoJYXPdxJnC+st9svrNyKHo11FZSi4KcDjTrdSMoyEpqvTQTh6Kf9FxaTGT7PR+BUR6acIB/pwAAAABJRU5ErkJggg=="
)
_CROSS_AGAIN = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYAQAAAADIDABVAAAAVElEQVR42i3MwQ1AQBRF0fufSZShAy2w1BVlKEMJEuqQ2eqAkHk2"
    "Fmd7wiB+BfSQlVh4xyZKH4qjx7PFCd4sdnBluUVlIC5q3WniKV1KIMhh1vjfD0QXHHY0MnMKAAAAAElFTkSuQmCC"
)
_RING = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYAQAAAADIDABVAAAARklEQVR42l3MsQ2AMBTEUP+joWQhFEZhlTAZEgOwSqQ0FIFLCxTu"
    "nhwG8W4D42jLIA50s+qiUH1+3MOukYnmJGYwFpn4/TrXoBN4BZJzKQAAAABJRU5ErkJggg=="
)
_RING_AGAIN = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYAQAAAADIDABVAAAAPElEQVR42k2MsRGAIADE8j8Y3OkijMJkNjqW8lQcFqmSiwJm8UCI"
    "RjnNAW+qAX+03WyW1+gyF4SYG/2eE2NOEXV+XEbtAAAAAElFTkSuQmCC"
)
_ANOTHER_CROSS = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYAQAAAADIDABVAAAAVklEQVR42j3MwQ1AQBRF0ftfJKwpYKYFiQKUpBMt6IQCtGAhmpiF"
    "zLNzCjhhECA4sJMgC6NSZ+7XUWh5R+PBYgE/FhcN5y76DadVzpOYJ1W6qIHiP/kAvK8bUrOrmhUAAAAASUVORK5CYII="
)


def create_classifier() -> dict[str, Any]:
    """Two crosses and two rings to adapt to."""
    return {
        "model": "omniglot-protonet",
        "name": "crosses and rings",
        "examples": [
            {"label": "cross", "image": _CROSS},
            {"label": "cross", "image": _CROSS_AGAIN},
            {"label": "ring", "image": _RING},
            {"label": "ring", "image": _RING_AGAIN},
        ],
    }


def add_examples() -> dict[str, Any]:
    """A further cross to learn from."""
    return {"examples": [{"label": "cross", "image": _ANOTHER_CROSS}]}


def patch_classifier() -> dict[str, Any]:
    """What may change without adapting again."""
    return {"name": "crosses and circles", "ttl_seconds": 86400, "metadata": {"batch": 7}}


def classify_images() -> dict[str, Any]:
    """A further cross."""
    return {"images": [_ANOTHER_CROSS]}


def classify_once() -> dict[str, Any]:
    """The crosses and rings with the further cross."""
    return {"examples": create_classifier()["examples"], **classify_images()}


def regress_once() -> dict[str, Any]:
    """Points of a sine wave, and two places where it is asked for."""
    points = [(-4.2, 1.74), (-2.5, -1.2), (-0.4, -0.78), (1.1, 1.78), (2.9, 0.48), (4.4, -1.9)]
    return {
        "model": "sinusoid-maml",
        "examples": [{"vector": [x], "target": y} for x, y in points],
        "queries": [{"vector": [0.5]}, {"vector": [3.5]}],
    }


def regression() -> dict[str, Any]:
    """What that says."""
    return {
        "model": "sinusoid-maml",
        "model_choice": {"reason": "named by the request"},
        "left_out": 6,
        "results": [
            {"index": 0, "value": 0.96, "spread": 0.21, "error": None},
            {"index": 1, "value": -0.7, "spread": 0.25, "error": None},
        ],
        "timings_ms": {"decode": 0.1, "queue": 0.2, "encode": 0.1, "adapt": 4.0, "predict": 0.6, "total": 5.4},
    }


def evaluate() -> dict[str, Any]:
    """Two further pictures to judge a classifier by."""
    return {"examples": [{"label": "cross", "image": _ANOTHER_CROSS}, {"label": "ring", "image": _RING}]}


def evaluation() -> dict[str, Any]:
    """What that says."""
    return {
        "classifier_id": "clf_5f0c8a1e9b7d4c2f6a3e1d0b",
        "model": "omniglot-protonet",
        "calibrated": False,
        "pictures": 2,
        "accuracy": 1.0,
        "accuracy_ci95": {"low": 0.34, "high": 1.0},
        "labels": [
            {"label": "cross", "pictures": 1, "accuracy": 1.0},
            {"label": "ring", "pictures": 1, "accuracy": 1.0},
        ],
        "confusion": [[1, 0], [0, 1]],
        "calibration_error": 0.03,
        "mean_confidence": 0.97,
        "none_of_these": None,
        "errors": [],
        "timings_ms": {"decode": 0.4, "queue": 0.1, "encode": 1.9, "adapt": 0.0, "predict": 0.3, "total": 3.0},
    }


def classification() -> dict[str, Any]:
    """An answer."""
    return {
        "classifier_id": "clf_5f0c8a1e9b7d4c2f6a3e1d0b",
        "model": "omniglot-protonet",
        "model_choice": {"reason": "the classifier's own"},
        "calibrated": False,
        "results": [
            {
                "index": 0,
                "filename": None,
                "prediction": "cross",
                "confidence": 0.98,
                "none_probability": None,
                "predictions": [{"label": "cross", "probability": 0.98}, {"label": "ring", "probability": 0.02}],
                "nearest_examples": [
                    {"example_id": "exm_0b5e3f7a1c9d2e4f6a8b0c1d", "index": 1, "label": "cross", "distance": 0.03}
                ],
                "error": None,
            }
        ],
        "timings_ms": {"decode": 0.4, "queue": 0.1, "encode": 1.9, "adapt": 0.0, "predict": 0.3, "total": 3.0},
    }


def classifier() -> dict[str, Any]:
    """A stored classifier."""
    return {
        "id": "clf_5f0c8a1e9b7d4c2f6a3e1d0b",
        "revision": 1,
        "name": "crosses and rings",
        "model": "omniglot-protonet",
        "model_choice": {"reason": "named by the request"},
        "version": "1.0.0",
        "adapt": {"steps": None, "rate": None},
        "labels": [{"label": "cross", "shots": 2}, {"label": "ring", "shots": 2}],
        "examples": 4,
        "created_at": "2026-01-31T12:00:00.000000Z",
        "updated_at": "2026-01-31T12:00:00.000000Z",
        "expires_at": None,
        "metadata": {},
        "report": {
            "leave_one_out_accuracy": 1.0,
            "leave_one_out_examples": 4,
            "confusions": [],
            "mislabelled": [],
            "duplicates": [],
            "too_few_shots": [{"label": "cross", "shots": 2}, {"label": "ring", "shots": 2}],
            "notes": [],
        },
    }


def problem() -> dict[str, Any]:
    """An error."""
    return {
        "type": "urn:kshot:problem:unknown_model",
        "title": "No such model",
        "status": 404,
        "detail": "no model is called 'photo'; there are: omniglot-protonet",
        "code": "unknown_model",
        "errors": [],
        "request_id": "3f1c9b0e7a5d4c2b8e6f0a1d2c3b4a59",
    }
