"""``imu``: what a worn accelerometer and gyroscope measure, and the words for it."""
