"""From files and vectors to rows."""
