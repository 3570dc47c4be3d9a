"""The report in a real browser: look at it, click, type, and see that nothing goes wrong.

    apt-get install chromium                                    # or any Chromium
    pip install -e . playwright                                 # drives it; no other browser needed
    python -m tools.report.check SCREENSHOTS                    # a page of invented times
    python -m tools.report.check SCREENSHOTS RESULT.json...     # a page of these

It opens the page from a file, without a network, light, dark, narrow and as printed, and leaves a
picture of each.  It fails on any message in the console and on any request.  It clicks columns,
uses the keyboard, types into the filter, and compares what is seen with what Python makes of the
data in the page.  Last, a page of hostile names must show them as text.
"""

import argparse
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from minincep.bench.html import page as page_of
from minincep.bench.record import load
from minincep.bench.summary import merge
from tests.bench.invented import hostile, record

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
ROWS = "#rows tbody tr"


def main() -> None:
    """Check, and exit with status 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("screenshots", type=Path)
    parser.add_argument("results", type=Path, nargs="*")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="a Chromium")
    options = parser.parse_args()
    options.screenshots.mkdir(parents=True, exist_ok=True)
    results = options.results or [keep(options.screenshots / "invented.json", record(130))]
    good = write(results, options.screenshots / "report.html")
    bad = write(
        [keep(options.screenshots / "hostile.json", hostile())],
        options.screenshots / "hostile.html",
    )
    with sync_playwright() as playwright:
        # Without a sandbox it runs as root, too, as in a container.
        browser = playwright.chromium.launch(
            executable_path=options.browser, args=["--no-sandbox"], chromium_sandbox=False
        )
        for look, settings in LOOKS.items():
            opened = Opened(browser, good, settings)
            opened.page.screenshot(path=options.screenshots / f"{look}.png", full_page=True)
            if look == "light":
                check_tooltip(opened, options.screenshots / "tooltip.png")
                check_sorting(opened)
                check_filters(opened)
                opened.page.emulate_media(media="print")
                opened.page.pdf(path=options.screenshots / "printed.pdf")
            opened.close()
        opened = Opened(browser, bad, LOOKS["light"])
        opened.page.screenshot(path=options.screenshots / "hostile.png", full_page=True)
        check_harmless(opened)
        opened.close()
        browser.close()
    print("nothing wrong; now look at the pictures in", options.screenshots)


def keep(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path


def write(results: list[Path], path: Path) -> Path:
    path.write_text(page_of(merge([load(result) for result in results])), encoding="utf-8")
    return path


def expect(truth: bool, claim: str) -> None:
    """Go on if it is so."""
    print("ok  " if truth else "FAIL", claim)
    if not truth:
        sys.exit(1)


class Opened:
    """A page in a browser that has no network, and what the browser said."""

    def __init__(self, browser: Browser, path: Path, settings: dict[str, Any]) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self._context = browser.new_context(offline=True, **settings)
        self.page: Page = self._context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_selector(ROWS)
        self.address = path.resolve().as_uri()
        data = json.loads(self.page.locator("#data").text_content() or "")
        self.rows = [dict(zip(data["fields"], row, strict=True)) for row in data["rows"]]
        wide = "document.documentElement.scrollWidth > innerWidth"
        expect(not self.page.evaluate(wide), f"nothing is wider than a window of {settings}")

    def close(self) -> None:
        expect(self.said == [], f"the console is silent: {self.said}")
        expect(self.asked == [self.address], f"nothing is fetched but the page: {self.asked}")
        self._context.close()

    def chosen(self, **wanted: str) -> list[dict[str, Any]]:
        """The rows that should be seen."""
        return [
            row for row in self.rows if all(str(row[name]) == wish for name, wish in wanted.items())
        ]

    def column(self, name: str) -> list[str]:
        """What is seen in a column of the table of all measurements, all of it."""
        more = self.page.locator("#rows .more")
        if more.is_visible():
            more.click()
        heads = self.page.locator("#rows thead th").all_inner_texts()
        place = [head.strip() for head in heads].index(name) + 1
        texts: list[str] = self.page.locator(f"{ROWS} td:nth-child({place})").all_inner_texts()
        return texts

    def settle(self) -> None:
        self.page.wait_for_timeout(400)


def check_tooltip(opened: Opened, path: Path) -> None:
    sign = opened.page.locator("#roofline .sign").last
    sign.scroll_into_view_if_needed()
    sign.hover()
    row = opened.rows[int(sign.get_attribute("data-row") or -1)]
    words = opened.page.locator("#tip").inner_text()
    expect(
        words.startswith(f"{row['variant']}: {row['label']}"), f"a sign says what it is: {words!r}"
    )
    opened.page.screenshot(path=path)
    sign.click()
    opened.settle()
    seen = set(opened.column("layer"))
    expect(seen == {row["label"]}, f"a click on it leaves its layer alone: {seen}")
    opened.page.locator("#filters [type=reset]").click()
    opened.settle()


def check_sorting(opened: Opened) -> None:
    page = opened.page
    seen = opened.chosen(op=page.locator("[name=op]").input_value())
    head = page.locator("#rows th", has_text="GFLOP/s")
    before = opened.column("GFLOP/s")
    for order in ("descending", "ascending"):
        head.get_by_role("button").click()
        after = [float(text) for text in opened.column("GFLOP/s")]
        expect(head.get_attribute("aria-sort") == order, f"a click on GFLOP/s says {order}")
        wanted = sorted((row["gflops"] for row in seen), reverse=order == "descending")
        near = all(math.isclose(a, b, rel_tol=0.01) for a, b in zip(after, wanted, strict=True))
        expect(near, f"{len(after)} rows are {order} by GFLOP/s, as Python sorts them")
        expect(after != [float(text) for text in before], "and in another order than before")
    head = page.locator("#rows th", has_text="variant")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    after_keyboard = opened.column("variant")
    expect(head.get_attribute("aria-sort") == "ascending", "Enter on a head sorts, too")
    expect(after_keyboard == sorted(row["variant"] for row in seen), "and rightly")
    expect(page.locator("#rows th[aria-sort]").count() == 1, "one column is the sorted one")
    first = page.locator("#layers .figure").first
    head = first.locator("th", has_text="flops")
    head.get_by_role("button").click()
    shares = [float(text.split()[0]) for text in first.locator("td:nth-child(3)").all_inner_texts()]
    expect(shares == sorted(shares, reverse=True), "the comparison of layers sorts")


def check_filters(opened: Opened) -> None:
    page = opened.page
    op = page.locator("[name=op]").input_value()
    variant = opened.chosen(op=op)[-1]["variant"]
    page.locator("[name=variant]").select_option(variant)
    opened.settle()
    wanted = opened.chosen(op=op, variant=variant)
    expect(opened.column("variant") == [variant] * len(wanted), f"only {variant}: {len(wanted)}")
    page.locator("[name=threads]").select_option(str(wanted[0]["threads"]))
    opened.settle()
    wanted = opened.chosen(op=op, variant=variant, threads=str(wanted[0]["threads"]))
    expect(len(opened.column("threads")) == len(wanted), f"and on one number: {len(wanted)}")
    page.locator("#filters [type=reset]").click()
    opened.settle()
    word = opened.chosen(op=op)[0]["label"].split()[1]
    page.locator("[name=text]").press_sequentially(word)
    opened.settle()
    labels = opened.column("layer")
    number = sum(word in f"{row['label']} {row['variant']}" for row in opened.chosen(op=op))
    expect(
        0 < len(labels) == number < len(opened.rows),
        f"{word!r} leaves {len(labels)} of {len(opened.rows)} rows",
    )
    page.locator("[name=text]").fill("no such layer")
    opened.settle()
    expect(page.locator(ROWS).count() == 0, "what is not there leaves none")
    page.locator("#filters [type=reset]").click()
    page.locator("[name=op]").select_option("")
    opened.settle()
    expect(len(opened.column("operation")) == len(opened.rows), "all operations: all rows")


def check_harmless(opened: Opened) -> None:
    page = opened.page
    page.locator("[name=op]").select_option("")
    opened.settle()
    expect(page.evaluate("window.injected === undefined"), "no script of a hostile record ran")
    count = page.locator("body :is(img, iframe, a, b, object)").count()
    expect(count == 0, "no element came from it")
    expect(page.locator("script").count() == 2, "no script came from it")
    text = page.locator("#rows").inner_text()
    expect("</script><script>" in text and "<img" in text, "its names are seen as text")


if __name__ == "__main__":
    main()
