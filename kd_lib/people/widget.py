"""The page of an annotator: a widget that shows one item after another, and keeps every answer before the next one.

It runs in JupyterLab, Notebook 7, VS Code and voila. What it looks like is in `widget.js` and `widget.css`.
"""

import asyncio
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from IPython.display import HTML

from kd_lib.figures import pictures
from kd_lib.people.log import Conflict, Session

LATE = "Not counted: the answer before had arrived after all, and is saved. Undo takes it back."
NOBODY = "This is a picture. To answer, open the notebook in JupyterLab and set annotator to your name."
DONE = {"answer": "Saved.", "skip": "Skipped; it comes back at the end.", "undo": "Taken back.", "note": "Note saved."}


@dataclass(frozen=True)
class Task:
    """What the widget needs to know of a task: `show(item)` gives the parts of a page.

    `after(item, action)` gives what is to be done once an action is saved, in a thread, if anything.
    """

    title: str
    session: Session
    show: Callable[[str], dict]
    after: Callable[[str | None, str], Callable[[], None] | None] | None = None
    text_of: Callable[[object], str] = str  # from what the browser sends to what is written
    value_of: Callable[[str], object] = str  # and back


class Annotator(anywidget.AnyWidget):
    """The widget: one page after another, each answer appended to the annotator's file before the next page appears."""

    _esm = Path(__file__).with_name("widget.js")
    _css = Path(__file__).with_name("widget.css")
    page = traitlets.Dict().tag(sync=True)

    def __init__(self, task: Task):
        self._task, self._serial, self._before = task, 0, None
        self._due, self._worker = None, None
        super().__init__(page=self._page_of(reply="", message=self._greeting()))
        self.on_msg(self._received)

    def _greeting(self) -> str:
        log, done = self._task.session.log, self._task.session.done
        torn = " A line that a crash tore was left out." if log.torn else ""
        return f"Going on after {done} answers.{torn}" if done else f"Answers are saved one by one, in {log.path}."

    def _page_of(self, *, reply: str, message: str, wrong: bool = False, conflict: bool = False) -> dict:
        session, item = self._task.session, self._task.session.current
        page = {
            "title": self._task.title,
            "annotator": session.log.annotator,
            "serial": self._serial,
            "item": item is not None,
            "where": self._task.title if item else "All done",
            "done": session.done,
            "total": len(session.items),
            "left": session.seconds_left,
            "steps": session.steps,
            "note": session.notes.get(item, ""),
            "before": self._before,
            "question": ["Every item has its answer. Thank you! You can still undo, or close this page."],
        }
        page |= {"reply": reply, "message": message, "wrong": wrong, "conflict": conflict, "features_off": []}
        return page | (self._task.show(item) if item else {})

    def _received(self, _, content: dict, buffers: list) -> None:
        item, action, flags = self._task.session.current, content["action"], {}
        try:
            if action == "reload":
                self._task.session.reload()
                self._turn(None)
                flags["message"] = f"Read again: {self._task.session.done} answers."
            else:
                current = content["serial"] == self._serial  # else a second click, on a page that has gone
                flags["message"] = LATE if not current else DONE[action] if self._act(item, content) else ""
        except (ValueError, OSError) as error:
            flags = {"message": f"Not saved: {_text(error)}", "wrong": True, "conflict": isinstance(error, Conflict)}
        self.page = self._page_of(reply=content["id"], **flags)
        due = self._task.after is not None and not flags.get("wrong")
        if due and (work := self._task.after(item, action)):
            self._soon(work)

    def _soon(self, work: Callable[[], None]) -> None:
        """Do what takes long in a thread, so that the next answer need not wait; of what is due, only the last."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel, hence nobody who waits
            return self._tell(_trouble(work))
        self._due = work
        self._worker = self._worker or loop.create_task(self._work())

    async def _work(self) -> None:
        while work := self._due:
            self._due = None
            self._tell(await asyncio.to_thread(_trouble, work))
        self._worker = None

    def _tell(self, trouble: str) -> None:
        if trouble:
            message = f"The answer is saved, but not the tables: {trouble}"
            self.page = self._page_of(reply=self.page["reply"], message=message, wrong=True)

    def _act(self, item: str | None, content: dict) -> bool:
        session, action, note = self._task.session, content["action"], content["note"]
        last = session.last
        if action == "undo":
            done = session.undo()
        elif item is None:
            return False
        elif action == "note":
            return session.note(item, note)
        elif action == "skip":
            done = session.skip(item, note)
        else:
            done = session.answer(item, self._task.text_of(content["value"]), note)
        if done or session.current != item:  # the disk can have taken an answer although it said no
            self._turn(last if action == "undo" else None)
        return done

    def _turn(self, before: str | None) -> None:
        self._serial += 1
        self._before = None if before is None else self._task.value_of(before)

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        first = self._task.session.current or next(iter(self._task.session.items))
        return {**bundle[0], "text/html": as_picture(self._task.show(first)).data}, bundle[1]


def pictures_of(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> list[dict]:
    """Draw an image (C, H, W) of uint8, and named maps (H, W) of it with one scale of colours, for a page."""
    opaque = np.full((*image.shape[1:], 4), 255, dtype=np.uint8)
    opaque[..., :3] = image.transpose(1, 2, 0)
    texts = {"Image": "The image, enlarged"}
    texts |= {name: f"{name}: red speaks for the class, blue against it" for name in maps}
    drawn = [opaque, *(pictures.colour_maps(list(maps.values())) if maps else ())]
    return [
        {"name": name, "text": text, "pixels": own.tobytes(), "height": own.shape[0], "width": own.shape[1]}
        for (name, text), own in zip(texts.items(), drawn, strict=True)
    ]


def as_picture(page: dict) -> HTML:
    """Draw a page as a plain picture with a sentence, for where nobody can answer."""
    names, shape = [part["name"] for part in page["pictures"]], (page["pictures"][0]["height"], -1, 4)
    pixels = [np.frombuffer(part["pixels"], dtype=np.uint8).reshape(shape) for part in page["pictures"]]
    question = "".join(page["question"])
    drawn = pictures.side_by_side(pixels, names, description=f"{question} {NOBODY}")
    return HTML(f"{drawn.data}<p>{html.escape(question)} {NOBODY}</p>")


def _trouble(work: Callable[[], None]) -> str:
    try:
        work()
    except (ValueError, OSError) as error:
        return _text(error)
    return ""


def _text(error: Exception) -> str:
    """Say what went wrong, without the number that the system has for it."""
    words = getattr(error, "strerror", None)
    return f"{words}: {error.filename}" if words and error.filename else words or str(error)
