"""Which mistakes can a user make around text encoders? The tree of this room."""

from ingest.errors import ReadrankError


class EncoderError(ReadrankError):
    """Something about an encoder, its base or its training data needs mending."""


class BaseModelError(EncoderError):
    """The base model named in the settings cannot be found, read or trusted."""


class TrainingDataError(EncoderError):
    """The exported training folder is missing, incomplete or inconsistent."""


class ModelFolderError(EncoderError):
    """A trained encoder's folder is missing, damaged or of another format."""


class DivergedError(EncoderError):
    """The loss is no number any more; the message says after which step and what to lower."""


class OutOfMemoryError(EncoderError):
    """Training did not fit into memory; the message says which setting to lower."""
