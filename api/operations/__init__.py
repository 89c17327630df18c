"""Health, readiness, Prometheus metrics and documents."""
