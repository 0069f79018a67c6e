"""Everything that can go wrong between a model's name and its file.

```
WeightsError
├── ManifestError            (ValueError)         the manifest itself is wrong
├── UnknownWeights           (LookupError)        a name that the manifest does not have
├── WeightsUnavailable       (FileNotFoundError)  the file cannot be had; lists every way to supply it
├── NotInstalled             (FileNotFoundError)  verify() was asked about something that was never pulled
├── CacheError               (OSError)            the cache folder cannot be read or written
├── FetchError               (OSError)            why one attempt failed; the cause of a WeightsUnavailable
│   ├── MissingClient                             pip, npm ... is not on this machine
│   ├── ClientFailed                              the client ran and did not deliver
│   ├── DownloadFailed       (ConnectionError)    a URL did not deliver
│   └── UnreadableArtifact                        what came is not an archive with the member in it
├── WrongChecksum            (ValueError)         the bytes are not the pinned ones
├── ConversionError          (ValueError)         the source graph cannot be rewritten
│   ├── MalformedModel                            not a TFLite flatbuffer, or a damaged one
│   ├── UnsupportedGraph     (NotImplementedError) an operator or option that the converter does not know
│   └── MissingConverter     (ImportError)        the `onnx` package is not installed
└── WorkshopError                                 something that the workshop was asked for cannot be done
    ├── UnreadableCheckpoint (ValueError)         a file is no checkpoint of weights
    ├── CheckpointMismatch   (ValueError)         the weights are another network's; lists every key
    ├── ExportDiffers        (ArithmeticError)    an exported file does not give what its source gives
    ├── BadTrainingData      (ValueError)         pictures or labels that cannot be learnt from
    └── MissingWorkshop      (ImportError)        the extra `train` is not installed
```
"""

import re


class WeightsError(Exception):
    """Root of what this package raises on purpose."""


class ManifestError(WeightsError, ValueError):
    """The manifest is malformed; the message names the file, the table, the field and the legal values."""


class UnknownWeights(WeightsError, LookupError):
    """The manifest has no model or artifact of this name."""


class WeightsUnavailable(WeightsError, FileNotFoundError):
    """A file could not be had. The message says which, why, and every way to supply it."""


class NotInstalled(WeightsError, FileNotFoundError):
    """Nothing of this name is in the cache."""


class CacheError(WeightsError, OSError):
    """The cache folder cannot be created, locked, read or written."""


class FetchError(WeightsError, OSError):
    """One attempt to get an artifact failed."""


class MissingClient(FetchError):
    """The package client that the artifact needs is not installed."""


class ClientFailed(FetchError):
    """The package client ended with an error, ran out of time, or left no file behind."""


class DownloadFailed(FetchError, ConnectionError):
    """A URL did not deliver the whole file."""


class UnreadableArtifact(FetchError):
    """The artifact is no archive that we read, or the member is not in it."""


class WrongChecksum(WeightsError, ValueError):
    """The bytes are not the ones that the manifest pins."""


class ConversionError(WeightsError, ValueError):
    """A source graph could not be rewritten as ONNX."""


class MalformedModel(ConversionError):
    """The bytes are not a TFLite model, or they point outside themselves."""


class UnsupportedGraph(ConversionError, NotImplementedError):
    """The graph uses something that the converter does not know; it names it rather than guess."""


class MissingConverter(ConversionError, ImportError):
    """The `onnx` package, which writes the converted file, is not installed."""


class WorkshopError(WeightsError):
    """Root of what `weights.workshop` raises on purpose."""


class UnreadableCheckpoint(WorkshopError, ValueError):
    """A file is no checkpoint, or not one of ours."""


class CheckpointMismatch(WorkshopError, ValueError):
    """Weights do not fit a network.

    Attributes:
        missing: Keys that the network has and the weights have not.
        unexpected: Keys that the weights have and the network has not.
        misshapen: Keys that both have, with both shapes.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: tuple[str, ...] = (),
        unexpected: tuple[str, ...] = (),
        misshapen: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.missing = missing
        self.unexpected = unexpected
        self.misshapen = misshapen


class ExportDiffers(WorkshopError, ArithmeticError):
    """An exported model gives other outputs than its source."""


class BadTrainingData(WorkshopError, ValueError):
    """Pictures or labels that nothing can be learnt from; the message names the file and the line."""


class MissingWorkshop(WorkshopError, ImportError):
    """The libraries of the workshop are not installed."""


_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def redacted(text: str) -> str:
    """Mask user and password of every URL in `text`: client messages quote the index they were given."""
    return _USER_INFO.sub("***", text)
