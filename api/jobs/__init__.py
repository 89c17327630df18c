"""Training jobs: create, list, look at, stop; the trainers' callbacks; the SDK's HTTP transport."""
