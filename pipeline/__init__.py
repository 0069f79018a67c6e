"""Pixels to facts: the scheduler, the models, tracking, the decision, the runtime; `pipeline.events` tells the facts.

Read in this order:

- `faces`, `canvas`: the types that travel.
- `engine`, `graph`: how a model is run. `retinaface` (with `anchors`, `nms`) finds faces, `align` and `mobilefacenet`
  describe them, `quality` says how well that can work.
- `track`: faces from frame to frame. `evidence`, `identify`: what is known of one face, and the rule that decides.
  `sighting`: one camera's faces from first to last frame.
- `scheduler`, `intake`: which frame is detected when. `detection`, `analysis`: the two stages. `report`: facts to
  events.
- `runtime`: every thread, and the order in which they end. `metrics`: where time and frames went.
- `photo`: the same models on single photos, for enrolment and evaluation.
- `fake`: stand-ins for the models, for tests of what is around them.
"""
