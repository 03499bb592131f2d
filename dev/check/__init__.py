"""All tests, suite by suite."""
