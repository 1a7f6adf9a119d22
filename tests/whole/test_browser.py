"""The annotator's page in a real JupyterLab and in voila, driven in Chromium. Every answer is made by a rule.

Without Chromium these tests say so and are skipped; where BROWSER_TESTS=required is set they fail.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

from kd_lib.measures.similarity import pairs_of_components
from kd_lib.people import features, tasks
from kd_lib.people.log import Session
from tests.little_run import NAMES, make

PROJECT = Path(__file__).resolve().parents[2]
TOKEN = "of-this-test"
SECONDS = 600  # a kernel imports torch, perhaps on a busy machine
PATIENCE = 1000 * SECONDS
WHO = "a rule"
READY = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.kernelDisplayStatus === 'idle'"
CELLS = [
    """import os, pathlib
pathlib.Path('kernel.pid').write_text(str(os.getpid()))
from kd_lib.people.annotate import annotate_features, annotate_pairs
from kd_lib import study
asked = study.open({run!r}).to_ask()""",
    "annotate_pairs(*asked, annotator={who!r}, number=40)",
    "annotate_features(*asked, 'class 3', annotator={who!r})",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Start a Jupyter program on loopback, with settings of its own, and stop it after the tests."""
    home, started = tmp_path_factory.mktemp("home"), []
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    folders = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    folders |= {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config")}

    def start(module, *arguments, ready, cwd, **environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", module, "--no-browser", *(a.format(port=port) for a in arguments)]
        with (home / f"{module}.log").open("w") as log:
            started.append(
                subprocess.Popen(command, cwd=cwd, env=os.environ | folders | environment, stdout=log, stderr=log)
            )
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(address + ready)
                return address
            except (urllib.error.URLError, ConnectionError):
                assert started[-1].poll() is None, (home / f"{module}.log").read_text()[-2000:]
                time.sleep(0.2)
        raise TimeoutError((home / f"{module}.log").read_text()[-2000:])

    yield start
    for process in started:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


class Lab:
    """A notebook open in JupyterLab."""

    def __init__(self, browser, serve, folder, run):
        self.folder = folder
        cells = [nbformat.v4.new_code_cell(c.format(run=str(run.run.folder), who=WHO)) for c in CELLS]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "label.ipynb")
        options = (
            "--expose-app-in-browser",
            "--ServerApp.port={port}",
            f"--IdentityProvider.token={TOKEN}",
            f"--ServerApp.root_dir={folder}",
        )
        ready = f"/api/status?token={TOKEN}"
        address = serve("jupyterlab", "--allow-root", *options, ready=ready, cwd=folder)
        self.page = browser.new_page(viewport={"width": 1280, "height": 800})
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(f"{address}/lab/tree/label.ipynb?token={TOKEN}")

    def run(self, *cells):
        """Run cells, and wait for the annotator's page that the last one shows."""
        self.page.wait_for_function(READY)  # a notebook is there before its kernel, and drops what is run till then
        self.page.locator(".kd").evaluate_all("old => old.forEach((page) => page.classList.add('before'))")
        for number in cells:
            editor = self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)
            editor.locator(".cm-content").click()
            self.page.keyboard.press("Control+Enter")
        return self.shown(cells[-1])

    def shown(self, cell):
        return Widget(self.page, self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell))

    def save(self):
        self.page.keyboard.press("Control+s")
        self.page.locator(".jp-mod-current.jp-mod-dirty").wait_for(state="detached")

    def kill_kernel(self):
        os.kill(int((self.folder / "kernel.pid").read_text()), signal.SIGKILL)

    def accept_restart(self):
        self.page.locator(".jp-Dialog button.jp-mod-accept").click()


class Widget:
    """The annotator's page, in a cell or alone."""

    def __init__(self, page, place):
        self.page, self.root = page, place.locator(".kd:not(.before)")
        self.root.locator("header").wait_for()

    def text(self, part):
        return self.root.locator(part).inner_text()

    def done(self):
        return int(self.root.locator("progress").get_attribute("value"))

    def focus(self):
        self.root.locator(".kd-question").click()

    def step(self, action):
        """Do something that brings the next item, and wait for it."""
        serial = self.root.get_attribute("data-serial")
        action()
        self.page.wait_for_function(
            "([root, old]) => root.dataset.serial !== old && !root.hasAttribute('aria-busy')",
            arg=[self.root.element_handle(), serial],
        )

    def press(self, *keys):
        for key in keys:
            self.step(lambda key=key: self.page.keyboard.press(key))

    def click(self, name, twice=False):
        button = self.root.get_by_role("button", name=name)
        self.step(button.dblclick if twice else button.click)


def drawn(run):
    pairs = pairs_of_components([run.maps(n) for n in NAMES], run.labels, models=NAMES)
    return tasks.draw_pairs(pairs, number=40)


def answers(log):
    return list(Session([], log).answers.items())


@pytest.fixture(scope="module")
def lab(browser, serve, tmp_path_factory, run):
    return Lab(browser, serve, tmp_path_factory.mktemp("lab"), run)


def test_pairs_by_keyboard_and_mouse_through_a_reload_and_a_killed_kernel(lab, run):
    queue, given, before = drawn(run), {}, []
    here = lab.run(0, 1)
    rule = {"1": "same", "2": "different", "3": "cannot tell"}
    names = {"1": "1 Same features", "2": "2 Different", "3": "3 Can't tell"}

    def expect(key, skip=False):
        before.append((list(queue), dict(given)))
        item = queue.pop(0)
        if skip:
            queue.append(item)
        else:
            given[item] = rule[key]

    assert here.root.bounding_box()["height"] < 640  # of 800, which JupyterLab shares: no scrolling
    assert [c.bounding_box()["width"] >= 192 for c in here.root.locator("canvas").all()] == [True] * 5
    assert here.root.locator("canvas:not([aria-label]):not([aria-hidden])").count() == 0  # a screen reader names all
    assert here.root.locator("canvas").first.evaluate("c => getComputedStyle(c).imageRendering") == "pixelated"
    here.focus()
    for n in range(12):
        here.press("123"[n % 3])
        expect("123"[n % 3])
    for n in range(6):
        here.click(names["132"[n % 3]], twice=n == 4)
        expect("132"[n % 3])
    here.press("s")
    expect("", skip=True)
    here.press("u", "u", "u")
    for _ in range(3):
        queue, given = before.pop()
    assert here.done() == len(given) == 16
    here.click("S Skip for now")
    expect("", skip=True)

    lab.save()  # so that the kernel shows the page again, before any cell is run
    lab.page.reload()
    here = lab.shown(1)
    here.click("1 Same features")
    expect("1")
    here = lab.run(1)
    assert here.text(".kd-status") == "Going on after 17 answers."
    here.focus()
    for n in range(3):
        here.press("21"[n % 2])
        expect("21"[n % 2])
    lab.kill_kernel()
    lab.page.keyboard.press("1")  # reaches nobody: not saved, and said so
    here.root.locator(".kd-wrong").wait_for()
    assert here.text(".kd-wrong").startswith("Not saved: Python does not answer.")
    assert answers(run.annotations.pair_log(WHO)) == list(given.items())
    lab.accept_restart()

    here = lab.run(0, 1)
    assert here.done() == 20
    here.focus()
    here.press("s")
    expect("", skip=True)
    while len(given) < 30:
        key = "123"[len(given) % 3]
        if len(given) < 24:
            here.click(names[key])
        else:
            here.press(key)
        expect(key)
    while queue:
        here.press("2")
        expect("2")
    assert here.text(".kd-question").startswith("Every item has its answer.")
    assert answers(run.annotations.pair_log(WHO)) == list(given.items())
    assert len(given) == 44
    rows = run.annotations.pair_log(WHO).read()
    assert [row.action for row in rows].count("undo") == 3


def test_features_with_notes_and_keys_that_the_notebook_would_take_for_commands(lab, run):
    here = lab.run(0, 2)
    here.focus()
    for key in "xdd":  # cut the cell, delete the cell
        lab.page.keyboard.press(key)
    assert lab.page.locator(".jp-Notebook .jp-CodeCell").count() == 3
    lab.page.keyboard.press("Enter")
    assert here.text(".kd-wrong").startswith("Tick what you see")
    lab.page.keyboard.press("1")
    lab.page.keyboard.press("n")
    lab.page.keyboard.type("half hidden, 2 u")
    lab.page.keyboard.press("Enter")
    here.root.get_by_text("view 3").click()
    here.focus()
    here.press("Enter")
    lab.page.keyboard.press("2")  # not visible, so it cannot be marked
    lab.page.keyboard.press("3")
    here.press("Enter", "0", "0")
    here.press("u")
    lab.page.keyboard.press("1")
    here.press("Enter")
    items = tasks.draw_features([i for i, k in enumerate(run.labels) if k == 3], NAMES)
    log = run.annotations.feature_log("class 3", WHO, ("view 1", "view 2", "view 3"))
    assert answers(log) == list(zip(items[:4], ["view 1|view 3", "view 3", "none", "view 1"], strict=True))
    assert Session([], log).notes == {items[0]: "half hidden, 2 u"}
    expected = {tasks.feature_of(item)[1]: set(tasks.ticked(answer)) for item, answer in answers(log)[1:]}
    deadline, found = time.monotonic() + SECONDS, None
    while found != expected and time.monotonic() < deadline:  # tables are written at leisure, and again after an undo
        time.sleep(0.1)
        if tables := features.read_tables(run.run.annotations):
            shown, visible = tables["class 3"]
            found = {row["model"]: {n for n in shown.columns[2:] if row[n]} for _, row in shown.iterrows()}
    assert found == expected
    assert visible.iloc[0, 1:].tolist() == [True, False, True]


def annotate_options():
    """What `make annotate` starts voila with."""
    makefile = (PROJECT / "Makefile").read_text().replace("\\\n", "")
    (line,) = (line for line in makefile.splitlines() if "annotation/annotate.ipynb" in line)
    return shlex.split(line.partition("annotation/annotate.ipynb")[2])


def test_voila_serves_the_annotators_notebook_alone(browser, serve, run):
    notebook = PROJECT / "annotation" / "annotate.ipynb"
    options = (*annotate_options(), "--port={port}", "--show_tracebacks=True")
    own = {"KD_RUN": str(run.run.folder), "JUPYTER_TOKEN": TOKEN}
    address = serve("voila", str(notebook), *options, ready="/voila/static/voila.js", cwd=PROJECT, **own)
    asked = urllib.request.Request(f"{address}/?token={TOKEN}", headers={"Host": "of-another-page.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):  # whoever's name was made to lead here
        urllib.request.urlopen(asked)
    assert "/login?" in urllib.request.urlopen(address).url  # without the token
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(PATIENCE)

    def begin(name):
        page.goto(f"{address}/?token={TOKEN}&annotator={name}")
        page.get_by_role("button", name="Start").click()

    begin("b rule")
    here = Widget(page, page.locator("body"))
    assert page.evaluate("document.scrollingElement.scrollHeight") <= 800
    here.focus()
    here.press("1", "2", "s", "1")
    begin("b rule")
    here = Widget(page, page.locator("body"))
    assert here.done() == 3
    assert [answer for _, answer in answers(run.annotations.pair_log("b rule"))] == [
        "same",
        "different",
        "same",
    ]
    assert "import" not in page.inner_text("body")
    page.get_by_label("Your name").fill("../b")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("alert").filter(has_text="annotator '../b': expected 1 to 40 letters").wait_for()
