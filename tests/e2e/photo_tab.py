"""Steps through the tab for photos."""

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.chromium import one


def choose_sample(page: webdriver.Chrome, name: str) -> None:
    """Ask about a bundled photo, and wait for its faces."""
    one(page, f'.sample img[src="assets/{name}.jpg"]').click()
    one(page, ".card")


def another_photo(page: webdriver.Chrome) -> None:
    """Back to the samples."""
    page.find_element(By.XPATH, "//section[@id='photo']//button[text()='Another photo']").click()
    one(page, ".sample")
