"""What goes on while it happens: streams that are classified, folders that are indexed."""
