from . import book, data, figures, maps, measures, networks, people, study

__all__ = ["book", "data", "figures", "maps", "measures", "networks", "people", "study"]
