"""Real services for tests, started by the tests themselves."""
