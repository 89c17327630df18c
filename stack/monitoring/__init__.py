"""What operators watch: how Prometheus scrapes, what it alerts on, and the Grafana dashboard."""
