"""Recordings of robots: MCAP files and ROS bags become bundles."""
