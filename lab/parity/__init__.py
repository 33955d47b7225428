"""What works on a site works through Cascade: upstream's own Tempest, run on both, and compared."""
