"""vidface: cameras in, recognised people out as events.

The application on top of the packages that do the work:

    streams    pixels in        sources, decoding, reconnecting
    pipeline   pixels to facts  scheduling, detection, tracking, recognition, events
    index      who is known     the gallery and its search
    weights    model files      manifest, pulling, verifying, converting

Here: `config` (what a configuration file may say), `cli` (the commands), `errors`. Nothing imports this package.
"""
