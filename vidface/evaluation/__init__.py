"""How good and how fast the product is, measured through its own pipeline.

`lfw`: pairs of photos. `scene`: a clip with ground truth. `run`: a clip through the service. And `vidface bench`, from
top to bottom: `bench` (one run), `throughput` (recordings and their floors), `live` (clips as cameras), `capacity` (the
search), `loop` (the plain loop beside it), `account` and `system` (where processor time went, on what machine),
`outputs` (whether two runs said the same), `figures` (all of it as JSON), `saved` (files and comparing), `report` and
`plots` (HTML).
"""
