"""Which mistakes end a request or keep the service from starting? Each is one sentence."""

from ingest.errors import ReadrankError


class ServiceError(ReadrankError):
    """The root of this room's errors; `status` is the HTTP status that carries the sentence."""

    status = 500


class NoBundleError(ServiceError):
    """No model can be loaded: nothing was trained yet, or what `bundles/live` names is damaged."""

    status = 503


class NotWrittenError(ServiceError):
    """Events could not be made durable, so they were not accepted."""

    status = 503


class UnknownItemError(ServiceError):
    """The item asked for is not in the catalogue of the bundle that serves."""

    status = 404


class PortInUseError(ServiceError):
    """Another program listens where the service should."""
