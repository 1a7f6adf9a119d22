from . import gallery as gallery
from . import human as human
from . import inheritance as inheritance
from . import inherited as inherited
from . import lessons as lessons
from . import levels as levels
from . import parameters as parameters
from . import pipeline as pipeline
from . import rq1 as rq1
from . import rq2 as rq2
from . import rq3 as rq3
from . import sensitivity as sensitivity
from . import students as students
from . import teaching as teaching
from . import threshold as threshold
from . import training as training
from . import truth as truth
from .reading import Study as Study
from .reading import images as images
from .reading import open as open
from .run import Run as Run

__all__ = [
    "Run",
    "Study",
    "gallery",
    "human",
    "images",
    "inheritance",
    "inherited",
    "lessons",
    "levels",
    "open",
    "parameters",
    "pipeline",
    "rq1",
    "rq2",
    "rq3",
    "sensitivity",
    "students",
    "teaching",
    "threshold",
    "training",
    "truth",
]
