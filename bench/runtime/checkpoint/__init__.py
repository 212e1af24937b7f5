"""What a training keeps of itself to go on from: written whole or not at all, read or refused."""
