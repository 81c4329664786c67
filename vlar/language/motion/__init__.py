"""From words about movements to motion attributes."""
