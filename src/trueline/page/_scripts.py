"""What runs inside a page: the bundled chart runtime, data that cannot break out of it, and what may run at all."""

import base64
import functools
import hashlib
import json

from trueline.contracts import import_optional


@functools.cache
def chart_runtime() -> str:
    """Bundle Vega, Vega-Lite and their embedding for a script element; it takes a second."""
    altair = import_optional("altair", extra="report", purpose="drawing charts")
    vl_convert = import_optional("vl_convert", extra="report", purpose="drawing charts")
    version = ".".join(altair.SCHEMA_VERSION.split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("globalThis.vegaEmbed = vegaEmbed;", vl_version=version)
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def json_text(value: object) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII: no U+2028 either
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def policy_hash(script: str) -> str:
    """Return what a content security policy calls one script, so that no other may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
