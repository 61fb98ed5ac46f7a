"""What solves and simulations leave behind, and what is read off it."""
