"""Where the shots of a film begin and end."""
