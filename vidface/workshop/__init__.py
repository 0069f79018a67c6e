"""The weights workshop as a user meets it: pictures in, a model that is measured and registered out.

What is done to networks is in `weights.workshop`, which needs torch; here it gets pictures to work on, and is judged
with the product's own detector, engines and decoding.

Reading order: `pictures` (a folder or a clip, and who may see what of it), `judge` (how well a model agrees with the
full one, and how fast it is), `goal`, `optimise` (scan, prune, distil, quantise), `verdict` (what is kept), `report` (a
run as a page); `network` and `exporting` (files in and out), `quantise`, `training`.
"""
