"""The demo: a clip made of public photos, run through the product from end to end, and checked.

Reading order: `cast` (who plays, cut out of photos), `scene` (the clip and its ground truth), `check` (what was said
about it, held against that truth), `run` (all of it in a folder).
"""
