"""The page of an audit in a browser: both sliders move every chart and every word to what a recomputation says."""

import base64
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import DARK, LIGHT, contrast, open_page, show
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from torch import Tensor

from trueline.auditing import Audit, audit
from trueline.auditing._page import render
from trueline.measure import calibration_error, log_loss
from trueline.page import NBSP, nats, percent, points

from .conftest import HOSTILE, made_up

Writer = Callable[..., str]
MODELS = ("sharp", HOSTILE)
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def models() -> tuple[dict[str, Tensor], Tensor]:
    logits, labels = made_up(600, 6)
    return {MODELS[0]: logits, MODELS[1]: 0.3 * logits + made_up(600, 7)[0][:, :6] * 0.2}, labels


@pytest.fixture(scope="module")
def found(models: tuple[dict[str, Tensor], Tensor]) -> Audit:
    logits, labels = models
    images = torch.randint(0, 256, (600, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    groups = [(HOSTILE, "day", "night")[i % 3] for i in range(600)]
    names = [HOSTILE, "w" * 60, "cat", "dog", "dog", "a & b"]
    outside = dict.fromkeys(logits, made_up(50, 6, signal=1)[0])
    return audit(labels, logits=logits, class_names=names, groups=groups, images=images, outside=outside)


@pytest.fixture(scope="module")
def page(found: Audit, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "audit.html"
    return found.write_html(path).as_uri()


@pytest.fixture(scope="module")
def large_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two models on 10,000 samples of 100 classes."""
    logits, labels = made_up(10_000, 100)
    found = audit(labels, logits={"one": logits, "other": 0.6 * logits}, class_names=[f"class {i}" for i in range(100)])
    return found.write_html(tmp_path_factory.mktemp("large") / "audit.html").as_uri()


def open_audit(browser: Any, page: str, **options: Any) -> None:
    open_page(browser, page, **options)
    settle(browser)


def settle(browser: Any) -> None:
    """Wait until the charts show what the sliders say."""
    script = """return document.documentElement.dataset.drawn
        === ['temperature', 'threshold'].map(id => document.getElementById(id).value).join(' ')"""
    deadline = time.monotonic() + 20
    while not browser.execute_script(script):
        assert time.monotonic() < deadline, "the charts did not follow the sliders"
        time.sleep(0.02)


def press(browser: Any, slider: str, key: str, times: int = 1) -> None:
    element = browser.find_element(By.ID, slider)
    for _ in range(times):
        element.send_keys(key)
    settle(browser)


def drawings(browser: Any) -> dict[str, str]:
    script = "return Object.fromEntries([...document.querySelectorAll('[data-shows]')].map(c => [c.id, c.innerHTML]))"
    found: dict[str, str] = browser.execute_script(script)
    return found


def rows_of(browser: Any) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return what each chart's Vega view holds, by chart and name."""
    script = """const done = arguments[0];
    const names = { reliability: ['bins'], confidences: ['bars', 'threshold'], risk: ['risk', 'here'],
                    confusion: ['cells'] };
    Promise.all([...document.querySelectorAll('[data-shows]')].map(async place => {
        const view = await pageCharts[place.id];
        const held = names[place.dataset.shows].map(name => [name, view.data(name).map(row => ({ ...row }))]);
        return [place.dataset.shows + ' ' + place.dataset.model, Object.fromEntries(held)];
    })).then(found => done(Object.fromEntries(found)))"""
    found: dict[str, dict[str, list[dict[str, Any]]]] = browser.execute_async_script(script)
    return found


def said(browser: Any, model: int) -> str:
    text: str = browser.execute_script(f"return document.querySelector('[data-says=\"{model}\"]').textContent")
    return text


def expected(labels: Tensor, logits: Tensor, temperature: float, threshold: float, noise: float) -> str:
    """Recompute the sentence of one model from its logits."""
    scaled = logits / temperature
    confidence, prediction = scaled.softmax(1).max(dim=1)
    answered = confidence >= threshold
    right = (prediction == labels)[answered].double().mean().item()
    whom = f"{percent(answered.double().mean().item())} of 600" if threshold else "all 600"
    error = calibration_error(labels, logits=scaled).item()
    return (
        f"answers {whom} samples and is right on {percent(right)} of them. Over all samples its calibration error is "
        f"{points(error)} points, {'within' if error <= noise else 'beyond'} noise, and its log loss "
        f"{nats(log_loss(labels, logits=scaled).mean().item())} nats."
    )


def test_every_chart_is_drawn_without_errors_or_requests(browser: Any, page: str, large_page: str) -> None:
    for address, charts in ((page, 11), (large_page, 11)):  # seven that follow the sliders, two of each model's sets
        open_audit(browser, address)
        marks = browser.execute_script(
            "return [...document.querySelectorAll('.chart')]"
            ".map(c => c.querySelectorAll('.mark-symbol path, .mark-rect path').length)"
        )
        assert len(marks) == charts
        assert all(marks)
        assert browser.get_log("browser") == []
        requests = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert [name for name in requests if not name.startswith(("data:", "file:"))] == []


@pytest.mark.parametrize("slider", ["temperature", "threshold"])
def test_the_arrow_keys_on_a_slider_change_every_chart(browser: Any, page: str, slider: str) -> None:
    open_audit(browser, page)
    press(browser, "threshold", Keys.ARROW_RIGHT, 8)
    before = drawings(browser)
    press(browser, slider, Keys.ARROW_RIGHT, 3)
    after = drawings(browser)
    assert [name for name, drawing in after.items() if drawing == before[name]] == []


@pytest.mark.parametrize(("warmer", "stricter"), [(0, 0), (4, 0), (-5, 12), (3, 6)])
def test_the_words_are_what_a_recomputation_says(
    browser: Any, page: str, found: Audit, models: tuple[dict[str, Tensor], Tensor], warmer: int, stricter: int
) -> None:
    open_audit(browser, page)
    press(browser, "temperature", Keys.ARROW_RIGHT if warmer > 0 else Keys.ARROW_LEFT, abs(warmer))
    press(browser, "threshold", Keys.ARROW_RIGHT, stricter)
    sweep = found.models[0].sweep
    stop = int((sweep.temperatures == 1).nonzero()) + warmer
    temperature, threshold = sweep.temperatures[stop].item(), sweep.thresholds[stricter].item()
    logits, labels = models
    for i, model in enumerate(found.models):
        noise = model.sweep.noise[stop].item()
        assert said(browser, i) == expected(labels, logits[model.name], temperature, threshold, noise)


def test_the_charts_hold_what_a_recomputation_says(
    browser: Any, page: str, found: Audit, models: tuple[dict[str, Tensor], Tensor]
) -> None:
    open_audit(browser, page)
    press(browser, "temperature", Keys.ARROW_RIGHT, 5)
    press(browser, "threshold", Keys.ARROW_RIGHT, 9)
    sweep = found.models[0].sweep
    temperature = sweep.temperatures[int((sweep.temperatures == 1).nonzero()) + 5]
    threshold = sweep.thresholds[9].item()
    logits, labels = models
    held = rows_of(browser)
    for i, values in enumerate(logits.values()):
        confidence, prediction = (values / temperature).softmax(1).max(dim=1)
        for row in held[f"reliability {i}"]["bins"]:
            inside = (confidence > row["lower"]) & (confidence <= row["upper"])
            assert row["count"] == inside.sum()
            assert row["accuracy"] == pytest.approx((prediction == labels)[inside].double().mean().item(), rel=1e-4)
            assert row["confidence"] == pytest.approx(confidence[inside].mean().item(), rel=1e-4)
            assert row["answered"] == (row["upper"] > threshold)
            assert row["null_low"] <= row["null_high"]
        assert held[f"confidences {i}"]["threshold"] == [{"at": threshold}]
        answered = confidence >= threshold
        cells = held[f"confusion {i}"]["cells"]
        counts = torch.tensor([row["count"] for row in cells]).view(6, 6)
        truth = torch.bincount(labels[answered] * 6 + prediction[answered], minlength=36).view(6, 6)
        assert counts.equal(truth)
        here = held["risk 0"]["here"][i]
        assert here["coverage"] == pytest.approx(answered.double().mean().item(), abs=1e-12)
        assert here["risk"] == pytest.approx((prediction != labels)[answered].double().mean().item(), abs=1e-12)
        curve = [row for row in held["risk 0"]["risk"] if row["model"] == here["model"]]
        order = confidence.argsort(descending=True)
        wrong = (prediction != labels)[order].double()
        assert curve[49]["risk"] == pytest.approx(wrong[:300].mean().item(), rel=1e-4)


def test_the_first_drawing_is_the_one_that_the_sliders_come_back_to(browser: Any, page: str) -> None:
    """The page is written by one program and moved by another: they must agree."""
    open_audit(browser, page)
    press(browser, "temperature", Keys.ARROW_LEFT)
    press(browser, "temperature", Keys.ARROW_RIGHT)
    written = browser.execute_script("return JSON.parse(document.getElementById('charts').textContent)")
    places = browser.execute_script(
        "return [...document.querySelectorAll('[data-shows]')]"
        ".map(p => [p.id, p.dataset.shows + ' ' + p.dataset.model])"
    )
    held = rows_of(browser)
    for name, key in places:
        for data, rows in written[name]["datasets"].items():
            assert len(held[key][data]) == len(rows)
            for ours, theirs in zip(held[key][data], rows, strict=True):
                for column, value in theirs.items():
                    close = isinstance(value, float) and ours[column] == pytest.approx(value, rel=1e-4)
                    assert close or ours[column] == value, (key, data, column)


def test_buttons_lead_to_the_fitted_temperatures_and_back(browser: Any, page: str, found: Audit) -> None:
    open_audit(browser, page)
    given, *fitted = browser.find_elements(By.CSS_SELECTOR, "[data-slider=temperature]")
    slider = browser.find_element(By.ID, "temperature")
    for button, model in zip(fitted, found.models, strict=True):
        button.click()
        settle(browser)
        value = f"{model.temperature.value:.3g}"
        assert slider.get_attribute("aria-valuetext") == f"{value}, fitted for {model.name}"
        assert button.get_attribute("aria-pressed") == "true"
        assert browser.find_element(By.ID, "temperature-value").text == value
    given.click()
    assert slider.get_attribute("aria-valuetext") == "1, as given"


def test_descriptions_of_charts_follow_the_sliders(browser: Any, page: str) -> None:
    open_audit(browser, page)
    script = "return [...document.querySelectorAll('[data-shows]')].map(c => c.ariaLabel)"
    before = browser.execute_script(script)
    press(browser, "threshold", Keys.ARROW_RIGHT, 9)
    after = browser.execute_script(script)
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert all("answering above" in words for words in after)


def test_sets_stand_on_the_page_with_their_coverage(browser: Any, page: str) -> None:
    open_audit(browser, page)
    browser.execute_script("document.querySelectorAll('#sets details').forEach(d => d.open = true)")
    words = browser.find_element(By.ID, "sets").text
    assert words.count("of the sets hold the label") == 2
    assert words.count("By size of the set") == 2
    assert "Angelopoulos" in browser.find_element(By.ID, "references").text


def test_a_tie_is_rounded_like_everywhere_else(browser: Any, tmp_path: Path) -> None:
    """13 of 16 are 81.25 %, which Python writes as 81.2 and a browser by itself as 81.3."""
    logits = torch.tensor([[2.0, 0.0]]).expand(64, 2)
    labels = (torch.arange(64) % 16 >= 13).long()
    open_audit(browser, audit(labels, logits=logits).write_html(tmp_path / "tie.html").as_uri())
    assert f"right on 81.2{NBSP}%" in said(browser, 0)
    assert "81.2" in browser.find_element(By.ID, "scores").text


@pytest.mark.parametrize("with_keys", [False, True])
def test_tables_are_sorted_by_their_headings(browser: Any, page: str, found: Audit, with_keys: bool) -> None:
    open_audit(browser, page)
    table = browser.find_element(By.CSS_SELECTOR, "#classes table")
    button = table.find_elements(By.CSS_SELECTOR, "thead button")[3]
    head = button.find_element(By.XPATH, "..")
    recalls = [row.recall.value for row in found.models[0].classes]
    for way, wanted in (("ascending", sorted(recalls)), ("descending", sorted(recalls, reverse=True))):
        button.send_keys(Keys.ENTER) if with_keys else button.click()
        shown = [
            float(cell.get_attribute("data-value")) for cell in table.find_elements(By.CSS_SELECTOR, "td:nth-child(4)")
        ]
        assert shown == wanted
        assert head.get_attribute("aria-sort") == way


def test_what_is_unknown_is_sorted_last(browser: Any, tmp_path: Path) -> None:
    logits, labels = made_up(90, 3)
    open_audit(browser, audit(labels.clamp(min=1), logits=logits).write_html(tmp_path / "absent.html").as_uri())
    table = browser.find_element(By.CSS_SELECTOR, "#classes table")
    button = table.find_elements(By.CSS_SELECTOR, "thead button")[3]
    for _ in range(2):
        button.click()
        assert table.find_elements(By.CSS_SELECTOR, "tbody td:nth-child(4)")[-1].text == "none"


def test_hostile_names_appear_as_text(browser: Any, page: str) -> None:
    open_audit(browser, page)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    shown = HOSTILE.replace("\u2028", "")
    for section in ("verdict", "explore", "scores", "classes", "groups", "mistakes"):
        text = browser.execute_script(f"return document.getElementById('{section}').textContent").replace("\u2028", "")
        assert shown in text, section
    assert browser.execute_script("return document.querySelectorAll('main script').length") == 0
    assert browser.get_log("browser") == []


def test_the_worst_group_is_marked(browser: Any, page: str, found: Audit) -> None:
    open_audit(browser, page)
    worst = [min(m.groups, key=lambda row: row.evaluation.scores["accuracy"].value).name for m in found.models]
    marked = browser.execute_script("return [...document.querySelectorAll('.worst th')].map(t => t.firstChild.data)")
    assert marked == worst


def test_charts_and_words_follow_the_colour_scheme_without_a_reload(browser: Any, page: str) -> None:
    script = """return [document.body, document.querySelector('.chart .mark-symbol path'),
        document.querySelector('.controls')].map((e, i) => getComputedStyle(e)[i === 1 ? 'fill' : 'backgroundColor'])"""
    open_audit(browser, page)
    assert browser.execute_script(script) == ["rgb(253, 252, 249)", "rgb(0, 114, 178)", "rgb(253, 252, 249)"]
    show(browser, DARK)
    assert browser.execute_script(script) == ["rgb(21, 23, 26)", "rgb(86, 180, 233)", "rgb(21, 23, 26)"]


def test_print_shows_the_setting_in_place_of_the_sliders(browser: Any, page: str) -> None:
    open_audit(browser, page, scheme=DARK)
    press(browser, "threshold", Keys.ARROW_RIGHT, 9)
    assert not browser.find_element(By.ID, "setting").is_displayed()
    show(browser, DARK, "print")
    assert not browser.find_element(By.ID, "controls").is_displayed()
    assert browser.find_element(By.ID, "setting").text.startswith("The charts are printed at temperature 1, as given, ")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_scrolls_sideways(browser: Any, page: str, large_page: str, width: int) -> None:
    for address in (page, large_page):
        open_audit(browser, address, width=width)
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        edges = browser.execute_script(
            "return [...document.querySelectorAll('.chart svg, .slider, .slider *, .says, h1, h2, figcaption')]"
            ".map(s => s.getBoundingClientRect().right)"
        )
        assert max(edges) <= width


@pytest.mark.parametrize("width", [390, 1280])
def test_the_sliders_stay_in_sight_of_the_charts(browser: Any, page: str, width: int) -> None:
    open_audit(browser, page, width=width)
    browser.execute_script("document.querySelectorAll('.chart')[2].scrollIntoView()")
    top, bottom = browser.execute_script(
        "const r = document.querySelector('.sliders').getBoundingClientRect(); return [r.top, r.bottom]"
    )
    assert 0 <= top < bottom <= 400


def test_everything_has_its_words(browser: Any, page: str) -> None:
    open_audit(browser, page)
    assert browser.execute_script("return document.querySelectorAll('img:not([alt]), th:not([scope])').length") == 0
    names = browser.execute_script(
        "return [...document.querySelectorAll('[role=img], [role=region], [role=group], nav, section, aside')]"
        ".map(e => e.ariaLabel || document.getElementById(e.getAttribute('aria-labelledby'))?.innerText)"
    )
    assert all(names)
    labels = browser.execute_script("return [...document.querySelectorAll('input')].map(i => i.labels.length)")
    assert labels == [1, 1]
    assert all(browser.execute_script("return [...document.querySelectorAll('button')].map(b => b.innerText)"))
    heights = browser.execute_script(
        "return [...document.querySelectorAll('input, .stops button')].map(b => b.getBoundingClientRect().height)"
    )
    assert min(heights) >= 24  # large enough to be hit


def test_without_javascript_the_numbers_stay_and_the_sliders_go(browser: Any, page: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page)
        assert not browser.find_element(By.ID, "controls").is_displayed()
        assert "The sliders need JavaScript" in browser.find_element(By.ID, "explore").text
        assert "Calibration error" in browser.find_element(By.ID, "scores").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def blend(over: str, under: str, opacity: float) -> str:
    pairs = zip(re.findall(r"\d+", over), re.findall(r"\d+", under), strict=True)
    return f"rgb({', '.join(str(round(opacity * int(a) + (1 - opacity) * int(b))) for a, b in pairs)})"


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_numbers_on_cells_and_words_on_controls_can_be_read(browser: Any, page: str, scheme: str) -> None:
    open_audit(browser, page, scheme=scheme)
    paper, ink = browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    cells = browser.execute_script(
        "return [...document.querySelectorAll('[data-shows=confusion] .mark-rect path')]"
        ".map(p => { const s = getComputedStyle(p); return [s.fill, Number(s.opacity)]; })"
    )
    assert min(contrast(ink, blend(fill, paper, opacity)) for fill, opacity in cells) >= 4.5
    words = browser.execute_script(
        "return [...document.querySelectorAll('.controls :not(input), .notes *, figcaption, th, button, small')]"
        ".map(e => getComputedStyle(e).color)"
    )
    assert min(contrast(word, paper) for word in set(words)) >= 3  # marks need 3, text 4.5
    text = browser.execute_script(
        "return [...document.querySelectorAll('.stops button, label, output, figcaption, small, [data-says]')]"
        ".map(e => getComputedStyle(e).color)"
    )
    assert min(contrast(word, paper) for word in set(text)) >= 4.5


def test_the_file_is_small(large_page: str) -> None:
    """Two models on 10,000 samples of 100 classes; the chart runtime alone is nearly a megabyte."""
    assert Path(large_page.removeprefix("file://")).stat().st_size < 3_000_000


def test_data_for_the_sliders_is_json_that_every_reader_accepts(found: Audit) -> None:
    text = re.search(r'<script type="application/json" id="sweep">(.*?)</script>', render(found), re.DOTALL)
    assert text is not None
    data = json.loads(text[1], parse_constant=lambda name: pytest.fail(name))
    assert [model["name"] for model in data["models"]] == list(MODELS)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[2.0, 0.0]], [0]),  # one sample
        ([[200.0, 0.0]] * 40, [0] * 40),  # saturated, one class, never wrong
        ([[200.0, 0.0]] * 40, [1] * 40),  # always wrong
        ([[0.0, 0.0, 0.0]] * 40, [0, 1, 2, 0] * 10),  # ties
    ],
)
def test_unusual_predictions_have_a_page(
    browser: Any, tmp_path: Path, logits: list[list[float]], labels: list[int]
) -> None:
    open_audit(
        browser, audit(torch.tensor(labels), logits=torch.tensor(logits)).write_html(tmp_path / "unusual.html").as_uri()
    )
    press(browser, "threshold", Keys.END)
    press(browser, "temperature", Keys.HOME)
    press(browser, "temperature", Keys.END)
    assert browser.get_log("browser") == []
    assert "NaN" not in browser.execute_script("return document.body.innerText")
    assert "undefined" not in browser.execute_script("return document.body.innerText")


def test_the_picture_at_the_top_of_the_page(
    browser: Any, tmp_path: Path, shared_data: Path, request: pytest.FixtureRequest
) -> None:
    """What a reader sees first, moved to a setting where something is to be seen; ``--picture`` keeps it."""
    with np.load(shared_data / "predictions" / "cifar10-resnet50-logits.npz") as arrays:
        logits, labels = arrays["test_logits"], arrays["test_labels"]
    found = audit(labels, logits={"ResNet-50": logits}, class_names=CIFAR, title="ResNet-50 on CIFAR-10")
    open_audit(browser, found.write_html(tmp_path / "audit.html").as_uri())
    press(browser, "threshold", Keys.ARROW_RIGHT, 9)
    browser.execute_script("document.activeElement.blur(); document.documentElement.style.overflow = 'hidden'")
    browser.execute_script("document.querySelectorAll('.charts details').forEach(d => d.hidden = true); scrollTo(0, 0)")
    height = browser.execute_script(
        "return Math.max(...[...document.querySelectorAll('.chart')].map(c => c.getBoundingClientRect().bottom)) + 24"
    )
    size = {"width": 1280, "height": int(height), "deviceScaleFactor": 2, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    time.sleep(0.5)  # the charts take the width of the window
    picture = base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
    with Image.open(io.BytesIO(picture)) as image:
        assert image.size == (2560, 2 * int(height))
        assert len(image.convert("RGB").quantize(64).getcolors() or []) > 8  # something is on it
    if path := request.config.getoption("--picture"):
        path.write_bytes(picture)
