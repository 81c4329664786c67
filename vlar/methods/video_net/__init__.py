"""Small networks trained by pixels, whose answer is added to an encoder's vector."""
