"""Everything that can go wrong and that somebody can mend. Each message says what was wrong and what to do."""

from typing import ClassVar


class LookOnceError(Exception):
    """Root of the tree. `code` is stable: callers and scripts may depend on it."""

    code: ClassVar[str] = "error"


class ServiceError(LookOnceError):
    """Something a caller of the running service can meet."""

    code = "service-error"


class BadRequest(ServiceError):
    code = "bad-request"


class InvalidImage(BadRequest):
    code = "invalid-image"


class InvalidOptions(BadRequest):
    code = "invalid-options"


class UnsupportedMedia(BadRequest):
    code = "unsupported-media"


class SlowBody(BadRequest):
    code = "slow-body"


class ImageFetchFailed(BadRequest):
    code = "image-fetch-failed"


class ImageTooLarge(BadRequest):
    code = "image-too-large"


class Unauthenticated(ServiceError):
    code = "unauthenticated"


class Forbidden(ServiceError):
    code = "forbidden"


class NotServed(ServiceError):
    code = "not-served"


class UnknownModel(NotServed):
    code = "unknown-model"


class UnknownVersion(NotServed):
    code = "unknown-version"


class TryLater(ServiceError):
    """Nothing is wrong with the request; it may be sent again after `retry_after_s`."""

    code = "try-later"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(TryLater):
    code = "overloaded"


class RateLimited(TryLater):
    code = "rate-limited"


class BackendUnavailable(TryLater):
    code = "backend-unavailable"


class Draining(TryLater):
    code = "draining"


class DeadlineExceeded(ServiceError):
    code = "deadline-exceeded"


class BackendContractBroken(ServiceError):
    code = "backend-contract-broken"


class WorkshopError(LookOnceError):
    """Something the person at the command line can meet."""

    code = "workshop-error"


class BadModelFile(WorkshopError):
    """The file is not an ONNX model that can be read."""

    code = "bad-model-file"


class LayoutUnknown(WorkshopError):
    """The facts do not decide what the model's outputs mean, or say that it is no detector we can serve."""

    code = "layout-unknown"


class ModelRefused(WorkshopError):
    """The model was understood and cannot be served as asked."""

    code = "model-refused"


class ParityBroken(WorkshopError):
    """The served graph does not agree with the model it came from."""

    code = "parity-broken"


class RepositoryRefused(WorkshopError):
    """The model repository does not take this change."""

    code = "repository-refused"


class VersionExists(RepositoryRefused):
    code = "version-exists"


class FaceDiffers(RepositoryRefused):
    code = "face-differs"


class EngineFailed(WorkshopError):
    """TensorRT is absent, or its builder failed."""

    code = "engine-failed"


class SignatureRefused(WorkshopError):
    code = "signature-refused"


class NotSigned(SignatureRefused):
    code = "not-signed"


class FileChanged(SignatureRefused):
    code = "file-changed"


class FileMissing(SignatureRefused):
    code = "file-missing"


class FileUnsigned(SignatureRefused):
    """A file lies in or beside the version's folder that the signature does not know."""

    code = "file-unsigned"


class WrongKey(SignatureRefused):
    code = "wrong-key"


class LocalTritonFailed(WorkshopError):
    """The local Triton could not be prepared, started or kept running."""

    code = "local-triton-failed"


class SettingsRefused(WorkshopError):
    """The settings contradict themselves, or would serve strangers without being told to."""

    code = "settings-refused"


class GatewayFailed(WorkshopError):
    """The gateway could not open its ports, or one of its servers ended by itself."""

    code = "gateway-failed"


class DetectionFailed(WorkshopError):
    """The service could not be asked, or did not take every picture."""

    code = "detection-failed"


class ExtraMissing(WorkshopError):
    """A part of LookOnce was called that was not installed."""

    code = "extra-missing"
