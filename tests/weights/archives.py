"""Small artifacts and their members, for the tests of everything that fetches."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from types import MappingProxyType

from weights.manifest import (
    Artifact,
    Client,
    Colour,
    Converter,
    Form,
    Kind,
    Manifest,
    Member,
    ModelSpec,
    Task,
)

NET = b"\x08\x06 not really a network " * 50


def member(data: bytes, path: str = "box/net.onnx", *, literal: str | None = None) -> Member:
    name = path.rsplit("/", 1)[-1] if literal is None else "net.onnx"
    digest = hashlib.sha256(data).hexdigest()
    return Member(file_name=name, path=path, literal=literal, sha256=digest, size_bytes=len(data))


def artifact(
    *members: Member, client: Client = Client.NPM, form: Form = Form.TARBALL, url: str = "", sha256: str | None = None
) -> Artifact:
    return Artifact(
        name="box",
        kind=Kind.MODEL,
        client=client,
        package="" if url else "box",
        version="" if url else "1.0",
        url=url,
        form=form,
        sha256=sha256,
        licence="MIT",
        note="",
        members=members or (member(NET),),
    )


def model(sha256: str, converter: Converter = Converter.COPY) -> ModelSpec:
    return ModelSpec(
        name="net",
        task=Task.EMBED,
        architecture="none",
        artifact="box",
        member="net.onnx",
        sha256=sha256,
        converter=converter,
        licence="MIT",
        input_name="input",
        input_layout="NCHW",
        input_size_wh=(4, 4),
        colour=Colour.RGB,
        mean=(0.0, 0.0, 0.0),
        scale=1.0,
        outputs=("embedding",),
        strides=(),
        anchor_sizes=(),
        variances=(),
        embedding_dim=4,
        l2_normalised=False,
        calibration=((1e-2, 0.3), (1e-3, 0.4)),
        accuracy=(),
    )


def manifest(box: Artifact, converter: Converter = Converter.COPY) -> Manifest:
    spec = model(box.members[0].sha256, converter)
    return Manifest(models=MappingProxyType({"net": spec}), artifacts=MappingProxyType({"box": box}))


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
