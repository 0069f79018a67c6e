"""Model files: named, fetched, verified, converted.

`ensure("mobilefacenet-192")` returns the path of an ONNX file that is there, whole, and the pinned one; how it
got there is this package's business. It imports nothing of the other packages, and none of a fetched package.

Reading order:

    manifest.toml     the models and photo sets, where they come from, how to feed them; start here
    manifest.py       the same as types; table.py reads them strictly
    store.py          the door: ensure, ensure_artifact, pull, installed, verify, status
    cache.py          the folder: where things lie, the lock between processes, atomic replacement
    fetch.py          one artifact by its client: clients.py (pip, npm), download.py (a URL, resumed by Range)
    archive.py        one member out of what was fetched, checked against its sha256
    tflite.py         reads the TFLite flatbuffer
    convert.py        rewrites its graph as ONNX
    progress.py       how a pull reports; errors.py: the tree
"""
