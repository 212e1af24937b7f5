"""What a program runs on."""
