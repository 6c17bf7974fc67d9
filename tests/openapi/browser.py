"""The page `/docs` in a real browser: it works, under its policy, and asks nobody else.

    browser.py URL ADMIN_KEY FOLDER     leaves pictures in the folder
"""

import json
import sys
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

# A browser that looks for nothing by itself. The sandbox needs a user who isn't root.
FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-dev-shm-usage --no-proxy-server
""".split()

# Only a page that doesn't work is waited for so long.
PATIENCE = 60


def main(url, admin_key, folder):
    browser = start()
    try:
        visit(browser, url)
        try_out(browser, admin_key)
        shots(browser, folder)
        complaints = [entry["message"] for entry in browser.get_log("browser")]
        assert not complaints, complaints
        asked = addresses(browser)
    finally:
        browser.quit()
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    elsewhere = [one for one in asked if not one.startswith((origin + "/", "data:", "blob:" + origin))]
    assert not elsewhere, elsewhere
    assert f"{origin}/openapi.json" in asked, asked
    print(f"/docs works, and asked for nothing but {len(asked)} things of its own")


def start():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def visit(browser, url):
    browser.get(url)
    wait(browser, lambda: len(find_all(browser, ".opblock")) > 30)
    title = browser.find_element(By.CSS_SELECTOR, ".info .title").text
    assert title.startswith("llm-gateway"), title


def shots(browser, folder):
    for scheme in ["light", "dark"]:
        for width in [1280, 390]:
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            wait(browser, lambda: is_dark(browser) == (scheme == "dark"))
            over = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
            assert over <= 0, f"{over} pixels too wide at {width}"
            browser.save_screenshot(f"{folder}/{scheme}-{width}.png")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def is_dark(browser):
    red, *_ = browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
    )
    return red < 128


def try_out(browser, admin_key):
    """Enters the key and lists the kinds of providers."""
    click(browser, ".auth-wrapper .authorize")
    wait(browser, lambda: find_all(browser, ".auth-container input"))
    boxes = find_all(browser, ".auth-container")
    box = next(box for box in boxes if "adminKey" in box.text)
    box.find_element(By.CSS_SELECTOR, "input").send_keys(admin_key)
    box.find_element(By.CSS_SELECTOR, "button.authorize").click()
    click(browser, ".btn-done")
    operation = "#operations-Providers-listProviderKinds"
    click(browser, f"{operation} .opblock-summary-control")
    click(browser, f"{operation} .try-out__btn")
    click(browser, f"{operation} .execute")
    answer = f"{operation} .live-responses-table tbody .response-col_status"
    wait(browser, lambda: find_all(browser, answer))
    assert find_all(browser, answer)[0].text.startswith("200"), find_all(browser, answer)[0].text


def find_all(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def click(browser, selector):
    wait(browser, lambda: find_all(browser, selector))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", find_all(browser, selector)[0])
    find_all(browser, selector)[0].click()


def wait(browser, what):
    WebDriverWait(browser, PATIENCE).until(lambda _: what())


def addresses(browser):
    """Of every request that the browser made or tried to make."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
    return sorted({message["params"]["request"]["url"] for message in sent})


if __name__ == "__main__":
    main(*sys.argv[1:])
