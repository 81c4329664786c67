"""Federated training: clients learn apart and send weights, never clips."""
