"""The weights workshop: where models are loaded, trained, pruned, quantised, distilled and exported.

Torch lives here only, and comes with the extra ``train``; nothing that serves imports this package. It knows tensors
and files; what a face is, and how well a model finds one, is for the callers, who hand in pictures and measures.

Reading order:

    layers.py         what both architectures are made of; batch normalisation, and how it is folded away
    retinaface.py     the detector; mobilefacenet.py: the embedder
    checkpoint.py     weights of others into our modules and back: key names, prefixes, mismatches, pruned widths
    from_onnx.py      the pulled ONNX weights into the same modules
    export.py         a module to ONNX and torch.export

    labels.py         faces that somebody marked; widerface.py: files of them; identities.py: faces sorted by person
    augment.py        how pictures vary; targets.py: what anchors should say; losses.py, arcface.py: how wrong they are
    plan.py           how a training is to go; schedule.py, batches.py, distributed.py, log.py: its parts
    fit.py            the loop; train_detector.py, train_embedder.py: what it is used for

    compose.py        pictures without labels; distil.py: a small network learns from the full one
    prune.py          channels that a network can spare
    merge.py          convolutions that are one; equalise.py: channels brought to one range
    quantise.py       int8; interpret.py, recover.py, quantise_embedder.py: what rounding loses, taught again
"""

import os

# Torch's threads wait for work by spinning. Beside another engine's threads, or anybody's, that takes the processor
# from who has work: learning was seven times slower beside one other busy process. It is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
