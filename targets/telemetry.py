"""Nothing phones home: libraries that report to their makers by default are told not to, before they are loaded."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# As each library documents it. DO_NOT_TRACK is obeyed by huggingface_hub, too, and left to the user.
SILENCED = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime since 1.29: a device id in the user's cache, events to its maker
    "NNCF_CI": "1",  # nncf, by openvino-telemetry: an id in ~/intel, events to Google Analytics
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers, datasets
}


def silence(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what is not set already: a choice of the user's own stays. Children inherit it."""
    for name, value in SILENCED.items():
        environment.setdefault(name, value)
