"""STPrivacy: tokens that show the action, without the directions of an attribute."""
