"""Quota over all sites: limits from the hub, usage from the ledger."""
