"""What can go wrong between pixels and facts.

    PipelineError
    ├── EngineError            a model could not be compiled or run                (RuntimeError)
    │   ├── EngineMissing      the package that runs it is not installed           (ImportError)
    │   └── DeviceMissing      the device that was asked for is not here           (ValueError)
    ├── ModelMismatch          a model file is not what its manifest says          (ValueError)
    ├── ShapeError             an array is not of the shape a stage takes          (ValueError)
    ├── PhotoRefused           a photo that cannot stand for one person            (ValueError)
    └── StageFailed            a stage of the running pipeline raised              (RuntimeError)

Each also inherits the builtin named beside it, so callers who know nothing of vidface can catch it.
"""


class PipelineError(Exception):
    """The root of this package's errors."""


class EngineError(PipelineError, RuntimeError):
    """A model could not be compiled or run."""


class EngineMissing(EngineError, ImportError):
    """The package that runs models of this kind is not installed."""


class DeviceMissing(EngineError, ValueError):
    """The device that was asked for is absent; there is no silent fallback."""


class ModelMismatch(PipelineError, ValueError):
    """A model file has other inputs or outputs than its manifest entry says."""


class ShapeError(PipelineError, ValueError):
    """An array has another shape or dtype than the stage takes."""


class PhotoRefused(PipelineError, ValueError):
    """A photo that cannot be enrolled.

    Attributes:
        code: A stable machine-readable reason, such as ``no_face``.
        photo: The photo's name as the caller gave it.
    """

    def __init__(self, code: str, photo: str, reason: str) -> None:
        super().__init__(f"{photo}: {reason}")
        self.code = code
        self.photo = photo
        self.reason = reason


class StageFailed(PipelineError, RuntimeError):
    """A stage of the running pipeline raised; the cause is chained.

    Attributes:
        stage: The stage's name, such as ``detect``.
    """

    def __init__(self, stage: str, cause: BaseException) -> None:
        super().__init__(f"the {stage} stage failed: {type(cause).__name__}: {cause}")
        self.stage = stage
