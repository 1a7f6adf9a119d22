"""Two tasks for people, in JupyterLab, Notebook 7, VS Code and voila: pairs of maps, and the features that maps show.

`annotate_pairs` and `annotate_features` show one item after another; every answer is on the disk before the next one
appears. What people said is read back by `answers` and `features`.
"""

import html
import os
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qs

import ipywidgets
import numpy as np
from IPython.display import HTML

from kd_lib.data import multiview
from kd_lib.measures.similarity import pairs_of_components
from kd_lib.people import tasks
from kd_lib.people.annotations import Annotations
from kd_lib.people.features import default_features, features_to_ask, write_tables
from kd_lib.people.log import Session, check_name
from kd_lib.people.widget import Annotator, Task, as_picture, pictures_of

ASKED = ": do the two maps mark the same features of the image?"


def annotate_pairs(
    annotations: Annotations,
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    *,
    annotator: str = "",
    number: int = 100,
    seed: int = 0,
    repeats: float = 0.1,
) -> Annotator | HTML:
    """Show pairs of maps of one image for one class, and ask whether they mark the same features.

    Which networks the maps are of, and how similar they are, is not shown; sides are drawn. Answers go to
    ``annotations/pairs - ANNOTATOR.csv``; called again, the widget goes on where the annotator stopped.

    Parameters
    ----------
    annotations : Annotations
    images : ndarray of uint8, shape (N, C, H, W)
        The probe images.
    maps : mapping of str to ndarray, shape (N, K, H, W)
        Maps of each network of `annotations`, by its name.
    annotator : str
        Your name, or whatever you go by. Without one, a picture of the first pair is shown and nothing is asked.
    number : int
        Of pairs, see `tasks.draw_pairs`; can be raised later.
    seed : int
        Of the draw; the same for all annotators who are to judge the same pairs.
    repeats : float
        Share of the pairs that are asked twice, to measure self-agreement.

    Raises
    ------
    ValueError
        If a number is out of range, the name cannot be a file's, or the annotator's file has a mistake.
    """
    names = list(annotations.models)
    if len(names) < 2:
        return HTML("<p>This run has one network only: there are no pairs of maps to label.</p>")

    def show(item: str) -> dict:
        pair = tasks.pair_of(item)
        sides = [pair.model_a, pair.model_b][:: -1 if pair.swapped(seed) else 1]
        shown = [maps[name][pair.image, pair.target] for name in sides]
        return {
            "task": "pairs",
            "question": ["Explaining ", annotations.class_names[pair.target], ASKED],
            "pictures": pictures_of(images[pair.image], {f"Map {n}": own for n, own in enumerate(shown, 1)}),
            "answers": list(tasks.ANSWERS),
            "texts": ["Same features", "Different", "Can't tell"],
        }

    if not annotator:
        return as_picture(show(str(tasks.Pair(0, int(annotations.labels[0]), *names[:2]))))
    compared = pairs_of_components([maps[name] for name in names], annotations.labels, models=names)
    items = tasks.draw_pairs(compared, number=number, seed=seed, repeats=repeats)
    session = Session(items, annotations.pair_log(annotator))
    return Annotator(Task("Pairs of maps", session, show))


def annotate_features(
    annotations: Annotations,
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    class_name: str,
    *,
    annotator: str = "",
    features: Sequence[str] | None = None,
    number: int | None = None,
    seed: int = 0,
) -> Annotator | HTML:
    """Show the images of a class and each network's map of them, and ask which features are to be seen.

    First, once for each image, which features are visible at all; then which of them each map shows. Answers go to
    ``annotations/features - CLASS - ANNOTATOR.csv``, and after each image, those of all annotators together to the
    tables of the thesis (``rq2 - CLASS.csv`` and ``rq2 - CLASS - visible.csv``).

    Parameters
    ----------
    annotations, images, maps
        As of `annotate_pairs`.
    class_name : str
        The class; its maps are those for itself.
    annotator : str
        Your name, or whatever you go by. Without one, a picture is shown and nothing is asked.
    features : sequence of str, optional
        What to look for; see `default_features`.
    number : int, optional
        Of images; all by default.
    seed : int
        Of the order.

    Raises
    ------
    ValueError
        If the class or the features are unknown or not those of the class's tables, the name cannot be a file's, or
        the annotator's file has a mistake.
    """
    listed = features_to_ask(annotations, class_name, features)
    k, names = annotations.class_number(class_name), list(annotations.models)
    items = tasks.draw_features(annotations.images_of(class_name), names, number=number, seed=seed)
    samples = _samples(annotations, k, listed)
    sessions: list[Session] = []  # none while nobody is asked

    def show(item: str) -> dict:
        image, model = tasks.feature_of(item)
        seen = sessions[0].answers.get(tasks.feature_item(image)) if model and sessions else None
        of_map = ["Explaining ", class_name, ": which features does the map mark?"]
        of_image = ["An image of ", class_name, ": which features can be seen in it?"]
        return {
            "task": "features",
            "question": of_map if model else of_image,
            "pictures": pictures_of(images[image], {"Map": maps[model][image, k]} if model else {}),
            "features": list(listed),
            "features_off": [name for name in listed if seen is not None and name not in tasks.ticked(seen)],
            "samples": samples,
            "legend": "The map marks" if model else "In the image",
            "none": "None of them",
        }

    if not annotator:
        return as_picture(show(tasks.feature_item(tasks.feature_of(items[0])[0], names[0])))
    sessions.append(Session(items, annotations.feature_log(class_name, annotator, listed)))

    def tables() -> None:
        write_tables(annotations, class_name, listed)

    def after(item: str | None, action: str) -> Callable[[], None] | None:
        if action == "answer" and item:  # due once all that is asked about an image is answered
            image = tasks.feature_of(item)[0]
            asked = [tasks.feature_item(image, model) for model in (None, *names)]
            return tables if all(name in sessions[0].answers for name in asked) else None
        return tables if action in ("undo", "reload") else None

    tables()
    texts = {"text_of": tasks.ticks, "value_of": lambda text: list(tasks.ticked(text))}
    return Annotator(Task(f"Features: {class_name}", sessions[0], show, after=after, **texts))


def desk(annotations: Annotations, images: np.ndarray, maps: Mapping[str, np.ndarray]) -> ipywidgets.Widget:
    """Ask for a name and a task, then show it: the page that voila serves.

    Parameters
    ----------
    annotations, images, maps
        As of `annotate_pairs`.
    """
    known = [name for name in annotations.class_names if default_features(annotations, name)]
    options = [("Pairs: same or different?", ""), *((f"Features of {name}", name) for name in known)]
    asked = parse_qs(os.environ.get("QUERY_STRING", "")).get("annotator", [""])[0]
    name = ipywidgets.Text(value=asked, description="Your name", placeholder="as in your file's name")
    task = ipywidgets.Dropdown(options=options, description="Task")
    start = ipywidgets.Button(description="Start", button_style="primary")
    place, wrong = ipywidgets.VBox(), ipywidgets.HTML()

    def begin(_: object) -> None:
        wrong.value, place.children = "", ()
        try:
            check_name(name.value.strip())
            asking, chosen = (annotate_features, [task.value]) if task.value else (annotate_pairs, [])
            place.children = (asking(annotations, images, maps, *chosen, annotator=name.value.strip()),)
        except (ValueError, OSError) as error:
            wrong.value = f'<p role="alert">{html.escape(str(error))}</p>'

    start.on_click(begin)
    return ipywidgets.VBox([ipywidgets.HBox([name, task, start]), wrong, place])


def _samples(annotations: Annotations, k: int, names: Sequence[str]) -> list[dict]:
    """Pictures of what the features of a class look like: nobody can know the views of the drawn images."""
    if not annotations.drawn or list(names) != multiview.view_names(k):
        return []
    grey = (255 * (multiview.GREY + multiview.textures()[k])).clamp(0, 255).byte().numpy()
    return [pictures_of(v, {})[0] | {"text": f"what {n} looks like"} for n, v in zip(names, grey, strict=True)]
