"""What a finished picture is worth, measured on its 8-bit values."""
