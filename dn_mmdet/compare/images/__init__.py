"""What runs predict for single images: intervals over images, and where two runs differ most."""
