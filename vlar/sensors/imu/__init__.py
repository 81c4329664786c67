"""``imu``: accelerometers and gyroscopes that a person wears."""
