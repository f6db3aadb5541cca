"""The page in a real browser: what people see and do with mouse, keyboard and screen reader, and what nobody can do."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from cimeu.media.audio import read_sound, write_sound
from cimeu.server.isolated import Isolated
from cimeu.server.live import Room
from cimeu.server.predictions import EXPORTS, Predictions
from cimeu.server.settings import ServerSettings

from .conftest import serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "a-token-of-many-signs"
PATIENCE_MS = 60_000
HOSTILE = "<img src=x onerror=alert(1)>.mp4"
CONTRASTS = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Browser]]:
    """Start a browser with these options."""
    if CHROMIUM is None:
        pytest.skip("Chromium absent: install Debian's package `chromium`, or run `make test-browser`")
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
        expect.set_options(timeout=PATIENCE_MS)
        opened: list[Browser] = []

        def one(*options: str) -> Browser:
            opened.append(playwright.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, *options]))
            return opened[-1]

        yield one
        for each in opened:
            each.close()


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser]) -> Browser:
    return launch()


@pytest.fixture(scope="module")
def number(browser: Browser, served: str, film: Path) -> str:
    """Id of a recording with a name that would like to be a program, read."""
    with film.open("rb") as stream:
        answer = httpx2.post(f"{served}/predictions", files={"file": (HOSTILE, stream)})
    return answer.json()["id"]


class Seen:
    """A page with what it asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[..., Seen]]:
    """Open a page of a browser nobody used before."""
    contexts = []

    def make(address: str, **options: object) -> Seen:
        contexts.append(browser.new_context(**options))
        seen = Seen(contexts[-1].new_page())
        seen.page.set_default_timeout(PATIENCE_MS)
        seen.page.goto(address)
        return seen

    yield make
    for each in contexts:
        each.close()


@pytest.fixture
def seen(look: Callable[..., Seen], served: str, number: str) -> Seen:
    """The page with the recording open."""
    found = look(f"{served}/#{number}")
    expect(found.page.locator("#stage")).to_be_visible()
    return found


def wait_until(page: Page, script: str) -> None:
    """Ask again and again from outside: playwright's own waiting evaluates inside the page, whose rules forbid that."""
    ends = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(script):
        assert time.monotonic() < ends, f"never true: {script}"
        page.wait_for_timeout(50)


def time_s(page: Page) -> float:
    return page.evaluate("document.getElementById('video').currentTime")


def segments(served: str, number: str) -> list[dict]:
    return httpx2.get(f"{served}/predictions/{number}").json()["result"]["segments"]


def test_a_file_is_dropped_read_and_shown(look: Callable[..., Seen], served: str, clip: Path) -> None:
    seen = look(served)
    expect(seen.page.locator("#notice")).to_contain_text("DEMONSTRATION ONLY")
    expect(seen.page.locator("#limits")).to_contain_text("AI Act")
    own = {"name": "to be deleted.mp4", "mimeType": "video/mp4", "buffer": clip.read_bytes()}
    seen.page.set_input_files("#file", own)
    expect(seen.page.locator("#title")).to_have_text(own["name"])
    expect(seen.page.locator(".segment").first).to_be_visible()
    expect(seen.page.locator("#announce")).to_contain_text("finished")
    assert seen.page.evaluate("document.getElementById('video').readyState") >= 1
    assert {url.startswith(f"{served}/") for url in seen.asked} == {True}
    assert seen.complaints == []
    seen.page.locator("#delete").click()
    seen.page.get_by_role("button", name="Keep").click()
    seen.page.locator("#delete").click()
    seen.page.locator("#ask-delete").get_by_role("button", name="Delete").click()
    expect(seen.page.locator("#empty")).to_be_visible()
    assert own["name"] not in httpx2.get(f"{served}/predictions").text


def test_a_file_that_is_none_is_explained(look: Callable[..., Seen], served: str, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("just words")
    seen = look(served)
    seen.page.set_input_files("#file", tmp_path / "film.mp4")
    expect(seen.page.get_by_role("alert").first).to_contain_text("film.mp4 is not a video or sound file")


def test_a_name_is_shown_and_never_run(seen: Seen) -> None:
    expect(seen.page.locator("#title")).to_have_text(HOSTILE)
    expect(seen.page.locator(".recordings .name", has_text=HOSTILE)).to_be_visible()
    assert seen.page.locator("img[src='x']").count() == 0
    assert seen.complaints == []


def test_nothing_foreign_runs_or_is_loaded(seen: Seen) -> None:
    seen.page.evaluate("""() => {
      window.refused = [];
      document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.effectiveDirective));
      const add = (tag, properties) => document.body.append(Object.assign(document.createElement(tag), properties));
      add("script", { textContent: "window.ran = true" });
      add("img", { src: "https://example.org/x.png" });
      add("div", { innerHTML: "<p style='color: red' onclick='x'>" });
      fetch("https://example.org/").catch(() => null);
    }""")
    wait_until(seen.page, "window.refused.length >= 5")
    refused = set(seen.page.evaluate("window.refused"))
    assert refused == {"script-src-elem", "script-src-attr", "img-src", "style-src-attr", "connect-src"}
    assert seen.page.evaluate("window.ran") is None


def test_a_click_on_a_segment_seeks(seen: Seen, served: str, number: str) -> None:
    last = segments(served, number)[-1]
    seen.page.locator(f".segment[data-number='{last['number']}']").click()
    expect(seen.page.locator(f".segment[data-number='{last['number']}']")).to_have_class(re.compile("now"))
    assert time_s(seen.page) == pytest.approx(last["start_s"], abs=0.05)


def test_the_pointer_on_a_segment_shows_every_score_and_reason(seen: Seen, served: str, number: str) -> None:
    for each in segments(served, number):
        seen.page.locator(f".segment[data-number='{each['number']}']").hover()
        why = each["reason"].split("; ")[0].capitalize() if each["abstain"] else "Nothing said"
        expect(seen.page.locator("#said")).to_contain_text(each["label"] or why)
        expect(seen.page.locator("#scores li")).to_have_count(len(each["scores"]))
        if each["reason"]:
            expect(seen.page.locator("#why-not")).to_have_text(each["reason"])


@contextmanager
def curves_arrive_after(page: Page, address: str) -> Iterator[None]:
    """Open a recording whose curves are held back until the end of the block, and wait for them there."""
    held: list[Route] = []
    page.route("**/curves*", lambda route: held.append(route))
    page.goto(address)
    yield
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    expect(page.locator(".curves polyline").first).to_be_attached()


def test_a_name_that_is_being_typed_outlasts_the_arrival_of_the_curves(
    look: Callable[..., Seen], served: str, number: str
) -> None:
    page = look(served).page
    name = page.locator(".lane input").first
    with curves_arrive_after(page, f"{served}/#{number}"):
        name.press_sequentially("Anna")
        typed = name.input_value()
    expect(name).to_be_focused()
    assert name.input_value() == typed
    name.press("Escape")
    expect(name).to_have_value(typed.replace("Anna", ""))


def test_a_name_that_was_typed_before_the_curves_arrived_is_saved(
    look: Callable[..., Seen], served: str, number: str
) -> None:
    page = look(served).page
    name = page.locator(".lane input").first
    with curves_arrive_after(page, f"{served}/#{number}"):
        before = name.input_value()
        name.fill("Anna")
    name.press("Enter")
    expect(page.locator("#announce")).to_contain_text("is now Anna")
    name.fill(before)
    name.press("Enter")
    expect(page.locator("#announce")).to_contain_text(f"is now {before}")


def test_everything_is_reached_by_the_keyboard(seen: Seen, served: str, number: str) -> None:
    page = seen.page
    page.locator(".lane input").first.focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.dataset.number"
    first = page.evaluate(focused)
    assert first is not None
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("End")
    page.keyboard.press("Home")
    assert page.evaluate(focused) == first
    page.keyboard.press("ArrowDown")
    below = int(page.evaluate(focused))
    assert segments(served, number)[below]["lane"] != segments(served, number)[int(first)]["lane"]
    page.keyboard.press("Enter")
    wait_until(
        page,
        f"Math.abs(document.getElementById('video').currentTime - {segments(served, number)[below]['start_s']}) < 0.05",
    )
    page.keyboard.press("ArrowUp")
    assert segments(served, number)[int(page.evaluate(focused))]["lane"] == segments(served, number)[int(first)]["lane"]
    page.keyboard.press("Tab")
    assert "segment" not in page.evaluate("document.activeElement.className") or page.evaluate(focused) != first


def test_a_screen_reader_finds_its_way(seen: Seen) -> None:
    tree = seen.page.locator("body").aria_snapshot()
    for landmark in ("banner", "complementary", 'navigation "Recordings"', "main", "status"):
        assert f"- {landmark}" in tree
    assert 'toolbar "person 1,' in tree
    unnamed = seen.page.evaluate("""() =>
      [...document.querySelectorAll("button, input, select, video, progress, summary, a")].filter(
      (node) => node.checkVisibility() && !(node.textContent.trim() || node.ariaLabel || node.labels?.length))
      .map((node) => node.outerHTML)""")
    assert unnamed == []


def test_names_survive_and_are_downloaded(seen: Seen, served: str, number: str, tmp_path: Path) -> None:
    page = seen.page
    page.locator(".lane input").first.fill("Zoë <b>")
    page.keyboard.press("Enter")
    expect(page.locator("#announce")).to_contain_text("is now Zoë <b>")
    page.reload()
    expect(page.locator(".segment").first).to_be_visible()
    assert page.locator(".lane input").first.input_value() == "Zoë <b>"
    page.locator("#downloads summary").click()
    assert page.locator("#formats a").count() == len(EXPORTS)
    with page.expect_download() as download:
        page.locator("#formats a", has_text="tables").first.click()
    download.value.save_as(tmp_path / "a.csv")
    first = segments(served, number)[0]
    assert f"Zoë <b>,0.0,{first['end_s']},{first['label']}," in (tmp_path / "a.csv").read_text(encoding="utf-8")


def tiers(served: str, number: str) -> dict[str, list[dict]]:
    """Segments by rater of the lane that was seen first."""
    result = httpx2.get(f"{served}/predictions/{number}").json()["result"]
    return {tier["rater"]: tier["segments"] for tier in result["raters"] if tier["lane"] == "person 1"}


def borders(rated: list[dict]) -> list[tuple[float, float]]:
    return [(segment["start_s"], segment["end_s"]) for segment in rated]


def test_a_rater_corrects_beside_the_model_with_mouse_and_keyboard(
    look: Callable[..., Seen], served: str, number: str
) -> None:
    """The name is asked for once; split, move, merge, label and undo reach the server and survive a reload."""
    seen = look(f"{served}/#{number}")
    page = seen.page
    model = segments(served, number)
    lane = [segment for segment in model if segment["lane"] == "person 1"]
    page.locator(f".segment[data-number='{lane[0]['number']}']").focus()
    page.get_by_role("button", name="Correct").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Name or code").fill("Eva")
    page.keyboard.press("Enter")
    expect(page.locator("#announce")).to_contain_text("A tier of Eva begins")
    copy = tiers(served, number)["Eva"]
    assert borders(copy) == borders(lane)
    assert [segment["label"] for segment in copy] == [segment["label"] or "unsure" for segment in lane]

    # Fewer lines about the model's segment than about the own one do not move the lanes under the pointer.
    where = "document.getElementById('lanes').getBoundingClientRect().y + scrollY"
    before = page.evaluate(where)
    page.locator(f".segment[data-number='{lane[0]['number']}']").hover()
    expect(page.locator("#scores li").first).to_be_visible()
    assert page.evaluate(where) == before
    page.mouse.move(5, 5)

    # The keyboard alone: split at the position of the recording, move the border, take it back, label.
    assert "rated" in page.evaluate("document.activeElement.className")
    page.evaluate("document.getElementById('video').currentTime = 0.8")
    wait_until(page, "!document.getElementById('split').disabled")
    page.keyboard.press("s")
    expect(page.locator("#announce")).to_contain_text("Split at 0:00.8")
    assert borders(tiers(served, number)["Eva"])[:2] == [(0.0, 0.8), (0.8, lane[0]["end_s"])]
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#to")).to_have_value("0.90")
    page.keyboard.press("Control+z")
    expect(page.locator("#to")).to_have_value("0.80")
    page.get_by_label("Label").select_option("sadness")
    expect(page.locator("#announce")).to_contain_text("Rated as sadness")

    # The mouse: drag the border between the first two.
    grip = page.locator(".segment.own").first.locator(".grip.end")
    box, band = grip.bounding_box(), page.locator(".band.tier").first.bounding_box()
    assert box is not None
    assert band is not None
    whole_s = page.evaluate("Number(document.querySelector('.band.tier').lastChild.dataset.end)")
    page.mouse.move(box["x"] + 4, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(band["x"] + band["width"] * 0.5 / whole_s, box["y"] + 5, steps=4)
    page.mouse.up()
    expect(page.locator("#announce")).to_contain_text("Border moved")
    moved = tiers(served, number)["Eva"]
    assert moved[0]["end_s"] == moved[1]["start_s"] == pytest.approx(0.5, abs=0.1)
    assert moved[0]["label"] == "sadness"

    page.reload()
    expect(page.locator(".segment.own").first).to_have_text("sadness")
    page.locator(".segment.own").first.click()
    page.get_by_role("button", name="Merge with next").click()
    expect(page.locator("#announce")).to_contain_text("Merged")
    assert borders(tiers(served, number)["Eva"])[0] == (0.0, lane[0]["end_s"])
    assert segments(served, number) == model
    page.get_by_role("button", name="Discard tier").click()
    expect(page.locator(".segment.own")).to_have_count(0)
    expect(page.locator("#announce")).to_contain_text("discarded")
    assert tiers(served, number) == {}
    assert seen.complaints == []


def test_another_raters_tier_is_shown_when_wanted_and_cannot_be_changed(
    look: Callable[..., Seen], served: str, number: str
) -> None:
    tier = {"rater": "Ben <i>", "lane": "person 1", "segments": [{"start_s": 0.0, "end_s": 1.0, "label": "anger"}]}
    httpx2.patch(f"{served}/predictions/{number}", json={"raters": [tier]})
    page = look(f"{served}/#{number}").page
    expect(page.locator(".segment").first).to_be_visible()
    assert page.locator(".segment.rated").count() == 0
    page.get_by_label("Show other raters").check()
    page.locator(".segment.rated").click()
    expect(page.locator("#when")).to_contain_text("rated by Ben <i>")
    expect(page.locator("#editing")).to_be_hidden()
    page.keyboard.press("Shift+ArrowRight")
    assert tiers(served, number)["Ben <i>"] == tier["segments"]
    httpx2.patch(f"{served}/predictions/{number}", json={"raters": [tier | {"segments": []}]})


def test_why_shows_what_a_segment_rests_on(seen: Seen, served: str, number: str) -> None:
    asked = next(each for each in segments(served, number) if each["scores"])
    seen.page.locator(f".segment[data-number='{asked['number']}']").click()
    seen.page.get_by_role("button", name="Why?").click()
    expect(seen.page.locator("#explained")).to_contain_text("without the face (hog)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read(look: Callable[..., Seen], served: str, number: str, scheme: str) -> None:
    seen = look(f"{served}/#{number}", color_scheme=scheme)
    expect(seen.page.locator("#stage")).to_be_visible()
    seen.page.locator("#downloads summary").click()
    found = seen.page.evaluate(CONTRASTS)
    assert len(found) > 40
    assert [each for each in found if each[0] < 4.5] == []


@pytest.mark.parametrize("width", [320, 800, 1600])
def test_the_page_fits_any_window(look: Callable[..., Seen], served: str, number: str, width: int) -> None:
    seen = look(f"{served}/#{number}", viewport={"width": width, "height": 700})
    expect(seen.page.locator("#stage")).to_be_visible()
    lane, address = segments(served, number)[0]["lane"], f"{served}/predictions/{number}"
    httpx2.patch(address, json={"persons": {lane: "W" * 119}})  # one long word
    seen.page.reload()
    expect(seen.page.locator("#stage")).to_be_visible()
    seen.page.locator(".segment").first.click()
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    httpx2.patch(address, json={"persons": {lane: None}})
    over = seen.page.evaluate("""() => [...document.querySelectorAll(".card, .drop, .notes p, .actions")]
      .filter((node) => node.checkVisibility() && node.scrollWidth > node.clientWidth + 1)
      .map((node) => node.className)""")
    assert over == []


def test_continuous_labels_are_drawn_below_the_scores_with_a_zero_line_and_what_is_known_of_them(
    look: Callable[..., Seen], served: str, number: str
) -> None:
    def with_valence(route: Route) -> None:
        found = route.fetch().json()
        found |= {"continuous": [{"name": "valence", "low": -1, "high": 1}], "continuous_caution": "tested on toys"}
        for run in (run for runs in found["lanes"].values() for run in runs):
            for point in run:
                point["continuous"] = [0.5]
        route.fulfill(json=found)

    seen = look(served)
    seen.page.route("**/curves*", with_valence)
    seen.page.goto(f"{served}/#{number}")
    drawing = seen.page.get_by_role("img", name=re.compile("^valence of ")).first
    expect(drawing.locator("line")).to_have_attribute("y1", "50.0")
    points = drawing.locator("polyline").first.get_attribute("points") or ""
    assert {point.split(",")[1] for point in points.split()} == {"25.0"}, "0.5 on a scale from -1 to 1"
    expect(drawing.locator("title").first).to_have_text(re.compile(r"^\d+:\d\d\.\d: valence 0\.50$"))
    expect(seen.page.locator(".caution").first).to_have_text("tested on toys")
    assert [each for each in seen.page.evaluate(CONTRASTS) if each[0] < 4.5] == []
    assert seen.complaints == []


def test_the_page_asks_for_the_token(
    look: Callable[..., Seen], checker: Isolated, recogniser: Isolated, clip: Path, tmp_path: Path
) -> None:
    settings = ServerSettings(token=TOKEN)
    with serving(Predictions(settings, tmp_path, checker=checker, recogniser=recogniser)) as address:
        page = look(address).page
        page.get_by_label("Token", exact=True).fill("a-wrong-one-of-many")
        page.keyboard.press("Enter")
        expect(page.locator("#token-problem")).to_be_visible()
        page.get_by_label("Token", exact=True).fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#ask-token")).to_be_hidden()
        page.set_input_files("#file", clip)
        expect(page.locator(".segment").first).to_be_visible()
        wait_until(page, "document.getElementById('video').readyState >= 1")
        with page.expect_download() as download:
            page.locator("#downloads summary").click()
            page.locator("#formats a", has_text="JSON").first.click()
        assert Path(download.value.path()).stat().st_size


@pytest.fixture(scope="module")
def microphone(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's fake microphone plays over and over: the voice of the drawn face."""
    path = tmp_path_factory.mktemp("microphone") / "voice.wav"
    write_sound(path, np.tile(read_sound(clip), 4))
    return path


@pytest.fixture(scope="module")
def live_browser(launch: Callable[..., Browser], microphone: Path) -> Browser:
    """One with a fake camera and a fake microphone, and nobody to ask."""
    fake = "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"
    return launch(*fake, f"--use-file-for-fake-audio-capture={microphone}")


@pytest.fixture(scope="module")
def live_address(
    checker: Isolated, recogniser: Isolated, live_child: Isolated, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    settings = ServerSettings(live=True)
    folder = tmp_path_factory.mktemp("files")
    predictions = Predictions(settings, folder, checker=checker, recogniser=recogniser)
    with serving(predictions, Room(live_child, settings)) as address:
        yield address


@pytest.mark.long
def test_microphone_and_camera_are_answered_and_nothing_is_kept_unless_wanted(
    live_browser: Browser, live_address: str
) -> None:
    page = live_browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    seen = Seen(page)
    page.goto(live_address)
    page.get_by_role("link", name="Live").click()
    expect(page.locator("#notice")).to_contain_text("DEMONSTRATION ONLY")
    expect(page.locator("#limits")).to_contain_text("AI Act")
    expect(page.locator("#about")).to_contain_text("camera and microphone")

    page.get_by_role("button", name="Start").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#scores li").first).to_be_visible()
    expect(page.locator("#when")).to_contain_text("from voice")
    expect(page.locator(".curves polyline").first).to_be_attached()
    expect(page.locator("#state")).to_contain_text("after the end of their window")
    assert page.locator("#camera").evaluate("node => node.videoWidth") > 0
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#announce")).to_contain_text("nothing was kept")
    assert httpx2.get(f"{live_address}/predictions").json()["predictions"] == []

    page.get_by_label("Keep a recording").check()
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#state")).to_contain_text("0:02")
    page.get_by_role("button", name="Stop").click()
    page.locator("#kept a").click()
    expect(page.locator("#title")).to_contain_text("live ")
    expect(page.locator(".segment").first).to_be_visible()
    assert seen.complaints == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_live_page_fits_and_can_be_read(look: Callable[..., Seen], live_address: str, scheme: str) -> None:
    for width in (320, 800, 1600):
        seen = look(f"{live_address}/live", color_scheme=scheme, viewport={"width": width, "height": 800})
        expect(seen.page.locator("#limits")).to_contain_text("AI Act")
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        # What is switched off need not be read.
        found = [each for each in seen.page.evaluate(CONTRASTS) if not each[1].startswith("BUTTON  Stop")]
        assert [each for each in found if each[0] < 4.5] == []


def test_nothing_can_be_started_before_the_service_has_answered(look: Callable[..., Seen], live_address: str) -> None:
    page = look(live_address).page
    held: list[Route] = []
    page.route("**/health", lambda route: held.append(route))
    page.goto(f"{live_address}/live")
    while not held:
        page.wait_for_timeout(50)
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    held[0].continue_()
    expect(page.get_by_role("button", name="Start")).to_be_enabled()


def test_a_browser_that_gives_no_microphone_is_told_why(look: Callable[..., Seen], live_address: str) -> None:
    page = look(f"{live_address}/live").page
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("microphone")
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
