"""Answers that leave while they come: label states by MQTT and by webhook, none lost."""
