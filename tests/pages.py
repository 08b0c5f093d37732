"""Opening a page in a browser as a reader would."""

import time
from typing import Any

LIGHT, DARK = "light", "dark"


def open_page(browser: Any, page: str, *, width: int = 1280, scheme: str = LIGHT) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    show(browser, scheme)
    browser.get(page)
    deadline = time.monotonic() + 20
    while browser.execute_script("return document.querySelectorAll('.chart:not(:has(svg))').length"):
        assert time.monotonic() < deadline, "a chart was not drawn"
        time.sleep(0.05)


def show(browser: Any, scheme: str, medium: str = "screen") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})


def contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
