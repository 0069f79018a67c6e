"""How good and how fast the product is, measured through its own pipeline.

`lfw`: pairs of photos. `scene`: a clip with ground truth. `bench`: throughput and its floors. `run`: what they share.
"""
