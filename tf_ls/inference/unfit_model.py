"""The error of a model that does something else than was asked for."""


class UnfitModel(ValueError):
    """What should be a model of some kind is not."""
