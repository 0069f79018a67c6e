"""The weights workshop: run in its own environment, `make test-workshop`."""
