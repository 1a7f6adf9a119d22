"""The `annotations/` of a run: whose answers lie there, and what an answer can be about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from upath import UPath

from kd_lib import _files
from kd_lib.people import tasks
from kd_lib.people.log import Check, Log, Session, check_name


@dataclass(frozen=True, eq=False)
class Annotations:
    """A folder of answers, and the run that they are about.

    Attributes
    ----------
    folder : Path or UPath
        The run's `annotations/`; made with the first answer.
    models : sequence of str
        Names of the networks whose maps are shown.
    labels : ndarray of int, shape (N,)
        True class of each probe image.
    class_names : sequence of str
        Names of the classes.
    drawn : bool
        Whether the images are those of `data.multiview`, of which all features are known.
    """

    folder: Path | UPath
    models: Sequence[str]
    labels: np.ndarray
    class_names: Sequence[str]
    drawn: bool

    def class_number(self, class_name: str) -> int:
        """Give the number of a class; ValueError if there is none of this name."""
        if class_name not in self.class_names:
            raise ValueError(f"class {class_name!r}: expected one of {', '.join(self.class_names)}")
        return list(self.class_names).index(class_name)

    def images_of(self, class_name: str) -> list[int]:
        """Give the numbers of the probe images of a class; ValueError if there is no such class."""
        number = self.class_number(class_name)
        return [image for image, k in enumerate(self.labels) if k == number]

    def pair_log(self, annotator: str) -> Log:
        """Open one annotator's file of answers about pairs."""
        return Log(self.folder / f"pairs - {check_name(annotator)}.csv", annotator, self._pair_check())

    def feature_log(self, class_name: str, annotator: str, names: Sequence[str]) -> Log:
        """Open one annotator's file of answers about the features `names` of a class."""
        path = self.folder / f"features - {class_name} - {check_name(annotator)}.csv"
        return Log(path, annotator, self._feature_check(class_name, names))

    def pair_sessions(self) -> list[Session]:
        """Read all files of answers about pairs; ValueError names file, line and value of a mistake."""
        check = self._pair_check()
        return [Session([], Log(path, name, check)) for path, name in self._files("pairs - ")]

    def feature_sessions(self, class_name: str, names: Sequence[str]) -> list[Session]:
        """Read all files of answers about the features `names` of a class; ValueError as of `pair_sessions`."""
        check, files = self._feature_check(class_name, names), self._files(f"features - {class_name} - ")
        return [Session([], Log(path, name, check)) for path, name in files if " - " not in name]  # else another class

    def _files(self, start: str) -> list[tuple[Path | UPath, str]]:
        """Files whose names begin so, each with its annotator."""
        names = [name for name in _files.names_in(self.folder) if name.startswith(start) and name.endswith(".csv")]
        return [(self.folder / name, (self.folder / name).stem.removeprefix(start)) for name in names]

    def _pair_check(self) -> Check:
        return tasks.pair_check(len(self.labels), len(self.class_names), self.models)

    def _feature_check(self, class_name: str, names: Sequence[str]) -> Check:
        return tasks.feature_check(self.images_of(class_name), self.models, names)
