"""What is raised for models that cannot be converted."""


class ConversionError(ValueError):
    """A checkpoint, or a model, that does not fit the other side; the message names what."""
