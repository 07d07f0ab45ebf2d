"""What is optimised: a picture's parameters and their way to pixel values."""
