"""How a running service tells how it is.

Reading order: `vidface.status` (the snapshot that all is drawn from), `health` (whether it works, and whether it is
ready), `families` (the snapshot as Prometheus' metrics), `server` (HTTP); and the reader's side: `client` (fetches a
snapshot), `rates` (two snapshots as rates).
"""
