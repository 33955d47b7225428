"""What Cascade costs in front of a hundred simulated sites: figures anyone can reproduce, one command each."""
