"""Pixels in: cameras and recordings become numbered, timestamped frames.

A `Source` owns one camera: it opens it, decodes it in the thread that calls `run`, hands each `Frame` to a
callback, tells every change of state to another, and for a live camera comes back by itself after a loss. It
converts nothing: a frame holds the decoder's own planes behind a `Picture`, and whoever needs pixels asks for as
few as possible. What happens to frames that nobody has time for is the consumer's choice, made with a `mailbox`.

Reading order:

- `frame`: `Frame`, `FrameMeta` and the `Picture` protocol, the words of everything else.
- `spec`: `SourceSpec`, what a camera is; live or recorded, two different promises.
- `state`: the states of a camera and the legal ways between them.
- `source`: `Source`, the loop; with `backoff`, `timeline` (media time) and `clock`.
- `pair`: `PairSource`, a camera of a main and a sub stream; with `main_stream` and `demand` (live), `paired_media`
  (recorded), `pairing` (which picture belongs to which) and `paired_picture`.
- `media`: what a loop reads from; behind it `container` (anything FFmpeg opens), `folder` (images), `interrupt`
  (breaking into FFmpeg's blocking calls), `capture` (when a live frame was captured), `refusal` (why it cannot be
  opened), `shed` (what is left undecoded under overload) with `nal` (what a packet says of itself).
- `decoder`: what decodes a camera, and whether it can be had here; `dali`, fed by `group` with groups of pictures.
- `picture`: pixels on demand, from a decoder's planes or an array.
- `mailbox`: the only queue.
- `fake`: `FakeSource` and `FakeClock`, for whoever tests what is built on this.
- `redact`, `errors`.

This package imports nothing else of the project. PyAV has its door in `container`, `picture` and `refusal`, DALI in
`dali`.
"""
